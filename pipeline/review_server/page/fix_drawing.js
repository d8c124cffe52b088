// What fix mode draws above the picture: clicks, the box, the stroke of a brush, the mask of a new object.

const MINE = [80, 250, 160], INSIDE = "#3ddc84", OUTSIDE = "#ff5a5f";

export function drawMarks(fix) {
  const { player, pointer } = fix, { overlay } = player, context = overlay.getContext("2d");
  context.clearRect(0, 0, overlay.width, overlay.height);
  const unit = overlay.width / Math.max(1, overlay.getBoundingClientRect().width); // video pixels of one of the screen
  const now = fix.preview.isOn ? null : fix.now;
  if (now?.is_added && now.area && now.frame_index === player.current.frame_index) {
    fix.app.drawMask(context, now.counts, player.current.size, MINE, 0.35);
  }
  for (const [x, y, label] of now?.points ?? []) drawClick(context, x, y, label, unit);
  const box = pointer.press?.box ?? now?.box;
  if (box) {
    context.lineWidth = 2 * unit;
    context.strokeStyle = INSIDE;
    context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  }
  if (pointer.path) drawStroke(context, pointer);
  else if (pointer.at && pointer.isBrush) drawBrush(context, pointer, unit);
}

function drawClick(context, x, y, label, unit) {
  context.beginPath();
  context.arc(x, y, 5 * unit, 0, 7);
  context.fillStyle = label ? INSIDE : OUTSIDE;
  context.fill();
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = "white";
  context.stroke();
}

function drawStroke(context, { path, radius, tool }) {
  context.lineWidth = 2 * radius;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = tool === "draw" ? "rgba(61, 220, 132, .6)" : "rgba(255, 90, 95, .6)";
  context.beginPath();
  path.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
  if (path.length === 1) context.lineTo(path[0][0] + 0.01, path[0][1]);
  context.stroke();
}

function drawBrush(context, { at, radius, tool }, unit) {
  context.lineWidth = 1.5 * unit;
  context.strokeStyle = tool === "draw" ? INSIDE : OUTSIDE;
  context.beginPath();
  context.arc(...at, radius, 0, 7);
  context.stroke();
}
