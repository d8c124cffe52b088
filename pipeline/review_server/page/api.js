// Requests to the server. Addresses are relative, so that they carry the token that the page's own address begins with.

/** An error of the server, or of the way to it. `status` is 0 if no answer came. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Each start of the command makes another link, unless it is given a token. What is not saved lies in the browser. */
const OTHER_LINK = "the server has another link by now: open the one that the command has printed. What is not saved yet is saved there";

/** An id that no other request has: what is sent again with it is written once. */
export const newId = () => `${Date.now().toString(36)}-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server does not answer: is the command still running?", 0);
  }
  if (response.ok) return response;
  let message = response.status === 403 ? OTHER_LINK : `the server answers ${response.status}`;
  try {
    message = (await response.json()).error ?? message;
  } catch { /* no JSON: a tunnel or a proxy has answered */ }
  throw new ServerError(message, response.status);
}

/** The address of a path with a query; values that are null or undefined are left out. */
export function address(path, query = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return known.length ? `${path}?${new URLSearchParams(known)}` : path;
}

export async function get(path, query, signal) {
  return (await answered(address(path, query), { signal })).json();
}

export async function getBlob(path, query, signal) {
  return (await answered(address(path, query), { signal })).blob();
}

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return (await answered(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}
