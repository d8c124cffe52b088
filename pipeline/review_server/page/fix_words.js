// What fix mode says of corrections, and the fields of the page that it saves.

/** The masks of these corrections, by their objects and frames. */
export function framesOf(corrections) {
  const byObject = Map.groupBy(corrections, one => one.object_id);
  const frames = found => [...new Set(found.map(one => one.frame_index))].sort((a, b) => a - b).join(", ");
  if (byObject.size < 2) return `the mask of frame ${frames(corrections)}`;
  return [...byObject].map(([object, found]) => `the mask of object ${object} on frame ${frames(found)}`).join(", ");
}

/** What a correction has saved. */
export function savedWords({ object_id, frame_index, is_hidden }, splitInto) {
  if (splitInto) return `the track is split, object ${splitInto} begins at frame ${frame_index}`;
  return is_hidden ? `object ${object_id} is not visible on frame ${frame_index}` : `the mask of frame ${frame_index}`;
}

/** What somebody else had said of the track, which counted until now. */
export function replacedWords(replaced, reviewer) {
  return replaced && replaced.reviewer !== reviewer
    ? ` ${replaced.reviewer} had said ${replaced.verdict} of this track: yours counts now; ctrl z takes it back.` : "";
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
