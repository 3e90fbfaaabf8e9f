/** Making and touching elements. The page is only touched where something differs. */

/** Return a new element; `attributes` that are undefined are left out, text children become text nodes. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Set the text of an element that holds nothing else; returns whether it changed. */
export function setText(node, text) {
  const only = node.firstChild;
  if (only === null) {
    if (text === "") return false;
    node.append(text);
  } else if (only.data === text) return false;
  else only.data = text;
  return true;
}

/** Set an attribute; undefined removes it. */
export function setAttribute(node, name, value) {
  if (value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Fill a bar (0..1) of a level. Through the object model: the content policy forbids style attributes in markup. */
export function setBar(node, share, level) {
  const filled = share === undefined ? "0" : Math.min(1, Math.max(0, share)).toFixed(3);
  if (node.style.getPropertyValue("--filled") !== filled) node.style.setProperty("--filled", filled);
  setAttribute(node, "data-level", level);
}

/** Put children in this order with as few moves as is simple; others are removed. */
export function arrange(parent, children) {
  let place = parent.firstChild;
  for (const child of children) {
    if (child === place) place = place.nextSibling;
    else if (place !== null && place.nextSibling === child) {
      // One that has to go further down: its own turn puts it back.
      place.remove();
      place = child.nextSibling;
    } else parent.insertBefore(child, place);
  }
  while (place !== null) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** Keep one element per key: `make(key)` for new keys, in the order given. Returns the elements by key. */
export function keyed(parent, elements, keys, make) {
  const wanted = new Set(keys);
  for (const key of elements.keys()) if (!wanted.has(key)) elements.delete(key);
  for (const key of keys) if (!elements.has(key)) elements.set(key, make(key));
  arrange(parent, keys.map((key) => elements.get(key).node));
  return elements;
}
