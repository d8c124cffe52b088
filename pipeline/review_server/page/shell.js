// What the page says to people: lines for a moment, and what is wrong.

export const $ = id => document.getElementById(id);

/** A spot in the color of an object. */
export function dot([red, green, blue] = [128, 128, 128]) {
  const element = document.createElement("span");
  element.className = "dot";
  element.style.background = `rgb(${red}, ${green}, ${blue})`;
  return element;
}

/** A line for a moment, or until somebody closes it. */
export function tell(text, kind = "", stays = false) {
  const element = document.createElement("div");
  element.className = kind;
  element.textContent = text;
  if (stays) {
    const button = document.createElement("button");
    button.textContent = "close";
    button.addEventListener("click", () => element.remove());
    element.append(button);
  } else {
    setTimeout(() => element.remove(), kind === "bad" ? 8000 : 2500);
  }
  $("lines").append(element);
  while ($("lines").children.length > 4) $("lines").firstChild.remove();
}

/** What is wrong now; empty if nothing is. */
export function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}
