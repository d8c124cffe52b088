// Mouse and pen of fix mode: clicks, a box, the brush.

import { Stroke } from "./brush.js";

const DRAG = 5; // pixels of the screen from which a click is a box
const TOOLS = { b: "box", d: "draw", e: "erase" }; // by their keys

export class Pointer {
  /** `radius` is that of the brush in pixels of the video. */
  constructor(fix) {
    Object.assign(this, { fix, tool: "click", radius: null, at: null, press: null, stroke: null, path: null });
  }

  get isBrush() { return this.tool === "draw" || this.tool === "erase"; }

  begin() {
    const { size: [width, height] } = this.fix.player.current;
    this.radius = Math.max(1, Math.round(Math.min(width, height) / 30));
    this.fix.player.overlay.parentElement.addEventListener("contextmenu", prevent);
  }

  end() { this.fix.player.overlay.parentElement.removeEventListener("contextmenu", prevent); }

  /** A tool, or the size of the brush. Whether the key is one of these. */
  takesKey(key) {
    const tool = TOOLS[key];
    if (tool) this.tool = this.tool === tool ? "click" : tool;
    else if (key === "[") this.radius = Math.max(1, Math.round(this.radius * 0.8 - 0.4));
    else if (key === "]") this.radius = Math.max(1, Math.round(this.radius * 1.25 + 0.4));
    else return false;
    return true;
  }

  /** What is under way is not said: another frame is shown, or the system has taken the pointer. */
  cancel() { this.press = this.stroke = this.path = null; }

  down(event, xy) {
    const { fix } = this;
    if (event.button === 1) return; // the middle one scrolls or pastes
    if (!fix.preview.mayGoOn()) return;
    const isOutside = event.button === 2 || event.altKey;
    this.press = { xy, screen: [event.clientX, event.clientY], isOutside };
    if (this.isBrush && !isOutside) {
      this.stroke = new Stroke(fix.now?.area ? fix.now.counts : null, fix.player.current.size, Number(this.tool === "draw"));
      this.stroke.to(xy, this.radius);
      this.path = [xy];
    }
    fix.draw();
  }

  move(event, xy) {
    this.at = xy;
    if (this.stroke) {
      this.stroke.to(xy, this.radius);
      this.path.push(xy);
    } else if (this.press && !this.press.isOutside) {
      const far = Math.hypot(event.clientX - this.press.screen[0], event.clientY - this.press.screen[1]);
      if (far > DRAG || this.press.box) this.press.box = [...this.press.xy, ...xy];
    }
    if (this.press || this.tool !== "click") this.fix.draw();
  }

  up(event, xy) {
    const { press, stroke } = this, { corrections, player } = this.fix;
    this.cancel();
    if (!press) return;
    const { size: [width, height] } = player.current;
    const inside = ([x, y]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
    if (stroke) corrections.say({ kind: "draw", counts: stroke.counts });
    else if (press.box) {
      this.tool = "click";
      corrections.say({ kind: "box", box: [...inside(press.xy), ...inside(xy)] });
    } else if (this.tool !== "box") {
      const [x, y] = press.xy;
      if (x < 0 || y < 0 || x > width || y > height) return;
      corrections.say({ kind: "click", xy: press.xy, label: Number(!press.isOutside) });
    }
  }
}

function prevent(event) { event.preventDefault(); }
