// What fix mode says of corrections, and the fields of the page that it saves.

/** The masks of these corrections, by their frames. */
export function framesOf(corrections) {
  const frames = [...new Set(corrections.map(one => one.frame_index))].sort((a, b) => a - b);
  return `the mask of frame ${frames.join(", ")}`;
}

/** What a correction has saved. */
export function savedWords({ object_id, frame_index, is_hidden }, splitInto) {
  if (splitInto) return `the track is split, object ${splitInto} begins at frame ${frame_index}`;
  return is_hidden ? `object ${object_id} is not visible on frame ${frame_index}` : `the mask of frame ${frame_index}`;
}

/** What stands in a field of the page, or null. */
export function written(id) { return document.getElementById(id)?.value.trim() || null; }

/** Empty a field whose words are saved, if nobody has written others meanwhile. The page forgets its draft then. */
export function clear(id, words) {
  if (words === null || written(id) !== words) return;
  const field = document.getElementById(id);
  field.value = "";
  field.dispatchEvent(new Event("input"));
}
