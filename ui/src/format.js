// Figures as people read them.
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count) {
  if (count == null) return "–";
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function seconds(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  if (value < 0.001) return "0 ms";
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
  if (value < 90) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  if (value < 129600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} d`;
}

export function rate(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(value < 1 ? 2 : 1) : Math.round(value).toLocaleString("en");
}

export const count = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en"));
export const percent = (value) => `${Number.isInteger(value) ? value : value.toFixed(1)} %`;
export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
export const day = (unix) => new Date(unix * 1000).toISOString().slice(0, 10);
export const ago = (unix, now = Date.now() / 1000) => `${seconds(Math.max(0, now - unix))} ago`;
export const digestOf = (id) => id.slice(id.lastIndexOf("@") + 1);

export function lineage(source) {
  if (!source) return "";
  const parts = source.split("/").filter(Boolean);
  return source.includes("://") ? source : parts.slice(-2).join("/");
}
