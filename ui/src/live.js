// The overview, asked for again and again while somebody looks; what two answers differ by makes the rates.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask } from "./api.js";

const EVERY_MS = 1500;
const KEPT = 240; // points, six minutes
const SPAN_S = 10;
const HELD = "points";

// What a tab has seen outlasts its reload, and nobody else's signing in.
export const forgetPoints = () => sessionStorage.removeItem(HELD);

function heldPoints() {
  try {
    return JSON.parse(sessionStorage.getItem(HELD)) ?? [];
  } catch {
    return [];
  }
}

function holdPoints(points) {
  try {
    sessionStorage.setItem(HELD, JSON.stringify(points));
  } catch {
    forgetPoints(); // more than a browser takes
  }
}

export function useLive(find, onSignedOut) {
  const [live, setLive] = useState({ now: null, points: [], lost: null });
  const points = useRef(null);
  points.current ??= heldPoints();
  useEffect(() => {
    const hold = () => holdPoints(points.current);
    addEventListener("pagehide", hold);
    return () => removeEventListener("pagehide", hold);
  }, []);
  useEffect(() => {
    let timer;
    let over = false;
    let inFlight = false;
    let failures = 0;
    const look = async () => {
      clearTimeout(timer);
      if (over || inFlight || document.hidden) return;
      inFlight = true;
      try {
        const now = await ask("GET", `/overview?find=${encodeURIComponent(find)}`);
        if (over) return;
        failures = 0;
        points.current = withPoint(points.current, now);
        setLive({ now, points: points.current, lost: null });
      } catch (error) {
        if (over) return;
        failures += 1;
        if (error.status === 401) return void onSignedOut(error.message);
        setLive((held) => ({ ...held, lost: error.message }));
      } finally {
        inFlight = false;
      }
      if (!over) timer = setTimeout(look, Math.min(EVERY_MS * 2 ** Math.min(failures, 3), 12000));
    };
    const shown = () => !document.hidden && look();
    document.addEventListener("visibilitychange", shown);
    look();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [find]);
  return live;
}

function withPoint(points, now) {
  const models = now.counts.models;
  const last = points.at(-1);
  // Counters that fall are those of another process: what came before says nothing of it.
  const begunAnew = last && Object.keys(last.models).some((name) => (models[name]?.requests ?? 0) < (last.models[name].requests ?? 0));
  const before = begunAnew ? [] : points.filter(({ at }) => at < now.at && now.at - at < (KEPT * EVERY_MS) / 1000);
  return [...before, { at: now.at, models }].slice(-KEPT);
}

const difference = (newer, older, name, field) => (newer.models[name]?.[field] ?? 0) - (older.models[name]?.[field] ?? 0);

export function rates(newer, older, name) {
  const span = newer.at - older.at;
  const firsts = difference(newer, older, name, "first_tokens");
  return {
    requests: difference(newer, older, name, "requests") / span,
    errors: difference(newer, older, name, "errors") / span,
    tokens: difference(newer, older, name, "completion_tokens") / span,
    firstToken: firsts > 0 ? difference(newer, older, name, "first_token_s") / firsts : null,
  };
}

// The rate of each moment is taken over the seconds before it, so that single requests make no needles.
export function series(points, name) {
  const found = [];
  let from = 0;
  for (let at = 1; at < points.length; at += 1) {
    while (from < at - 1 && points[at].at - points[from + 1].at >= SPAN_S) from += 1;
    found.push({ at: points[at].at, ...rates(points[at], points[from], name) });
  }
  return found;
}

export const nowRates = (points, name) => series(points.slice(-12), name).at(-1) ?? { requests: 0, errors: 0, tokens: 0, firstToken: null };

// The mean of all that was seen, the last minutes; null where nothing was streamed in them.
export const recentFirstToken = (points, name) => (points.length > 1 ? rates(points.at(-1), points[0], name).firstToken : null);
