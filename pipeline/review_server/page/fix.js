// Fix mode: correct a mask of the current track. What it gets from the page stands in app.py beside this folder.

/** Called once, if the server can fix. Returns what the key f does. */
export function install(app) {
  return () => app.tell("masks cannot be corrected here", "bad");
}
