// Elements made of text and attributes. Whatever the server says becomes text, never markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. Attributes that are null or false are left out; `on…` are listeners; children are nodes and text. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Touches the page only if something changes, so that selections and screen readers are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Says something once to those who listen to the page: what the person did has come about, or not. */
export function say(text) {
  const said = byId('said');
  said.textContent = '';
  // Two texts that are equal would be said once.
  requestAnimationFrame(() => { said.textContent = text; });
}

/** Puts the focus on the page's title: where the place of the focus has gone. */
export function focusTitle() {
  byId('title').focus({ preventScroll: false });
}
