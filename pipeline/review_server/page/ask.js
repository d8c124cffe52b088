// A question in a window, with an answer for each button and key.

import { $ } from "./shell.js";

let asking = null;

/**
 * Ask, and give the name of the answer. `answers` are `[name, key, words]`: the first one has the focus, so that enter
 * says it, and escape says the last one. Who asks while a question is open gets its answer.
 */
export function ask(text, answers) {
  asking ??= answered(text, answers).finally(() => { asking = null; });
  return asking;
}

function answered(text, answers) {
  const window = $("ask");
  $("asked").textContent = text;
  return new Promise(resolve => {
    const say = name => {
      window.onkeydown = window.oncancel = null;
      window.close();
      resolve(name);
    };
    $("answers").replaceChildren(...answers.map(([name, key, words]) => {
      const button = document.createElement("button"), shown = document.createElement("kbd");
      shown.textContent = key;
      button.append(shown, ` ${words}`);
      button.addEventListener("click", () => say(name));
      return button;
    }));
    window.onkeydown = event => {
      const found = answers.find(([, key]) => key === event.key.toLowerCase());
      if (!found || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      say(found[0]);
    };
    window.oncancel = event => { // escape
      event.preventDefault();
      say(answers.at(-1)[0]);
    };
    window.showModal();
    $("answers").firstChild.focus();
  });
}
