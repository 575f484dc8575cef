// The finished elements of a JSON document whose end is still to come: objects in a list at its top. None in what is no JSON.
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
        const element = parsed(text.slice(start, at + 1));
        if (element === undefined) return found; // what any model may write has brackets too: code, say
        found.push(element);
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
