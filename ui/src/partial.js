// The finished elements of a JSON document whose end is still to come: objects in a list at its top.
export function elementsOf(text) {
  const found = [];
  let depth = 0;
  let inText = false;
  let start = -1;
  for (let at = 0; at < text.length; at += 1) {
    const sign = text[at];
    if (inText) {
      if (sign === "\\") at += 1;
      else if (sign === '"') inText = false;
    } else if (sign === '"') inText = true;
    else if (sign === "{" || sign === "[") {
      depth += 1;
      if (depth === 3 && sign === "{") start = at;
    } else if (sign === "}" || sign === "]") {
      if (depth === 3 && start >= 0) {
        found.push(JSON.parse(text.slice(start, at + 1)));
        start = -1;
      }
      depth -= 1;
    }
  }
  return found;
}

export function parsed(text) {
  const trimmed = text.trim();
  if (!/^[[{"]/.test(trimmed)) return undefined;
  try {
    return JSON.parse(trimmed);
  } catch {
    return undefined;
  }
}
