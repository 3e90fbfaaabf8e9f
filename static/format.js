/**
 * Figures as people read them. Pure. Unknown (absent) figures are "–", never 0. Decimal strings are the venue's own and
 * keep every digit; numbers are the gateway's computation and are rounded for reading.
 */

export const UNKNOWN = "–";
const MINUS = "−"; // U+2212 is as wide as a plus
const THOUSANDS = /\B(?=(\d{3})+$)/g;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Return a venue's decimal string with its digits unchanged, thousands grouped. What is no plain decimal stays as it is. */
export function exact(text) {
  if (typeof text !== "string" || text === "") return UNKNOWN;
  const found = /^(-?)(\d+)(\.\d*)?$/.exec(text);
  if (!found) return text;
  const [, minus, whole, fraction = ""] = found;
  return (minus && MINUS) + whole.replace(THOUSANDS, ",") + fraction;
}

/** Return a number with so many decimals, thousands grouped; `signed` writes a plus, too. What rounds to zero has no sign. */
export function number(value, decimals = 2, signed = false) {
  if (!isNumber(value)) return UNKNOWN;
  const digits = exact(Math.abs(value).toFixed(decimals));
  if (!/[1-9]/.test(digits)) return digits;
  return (value < 0 ? MINUS : signed ? "+" : "") + digits;
}

/** Return an amount in US dollars. */
export const money = (value) => number(value, 2);

/** Return a gain or a loss in US dollars: always with its sign, for whoever cannot tell colours apart. */
export const signedMoney = (value) => number(value, 2, true);

/** Return an amount of dollars in at most four digits: 950, 12.3k, 4.56M. */
export function shortMoney(value, signed = false) {
  if (!isNumber(value)) return UNKNOWN;
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    // 999.96k would read 1000.0k
    if (size >= unit * 0.9995) return number(value / unit, size >= unit * 99.95 ? 0 : 1, signed) + letter;
  }
  return number(value, 0, signed);
}

/** Return a fraction as a percentage: 0.1234 is 12.3 %. */
export function percent(fraction, decimals = 1, signed = false) {
  if (!isNumber(fraction)) return UNKNOWN;
  return `${number(fraction * 100, decimals, signed)} %`;
}

/** Return a leverage or another multiple; takes the venue's string or a number. */
export function times(value) {
  const text = typeof value === "string" ? exact(value) : number(value, 2);
  return text === UNKNOWN ? text : `${text}×`;
}

/** Return how many decimals a price shows when written in full, at most 12. */
export function decimalsOf(price) {
  if (!isNumber(price)) return 0;
  const [mantissa, exponent = "0"] = String(Math.abs(price)).split("e");
  const fraction = mantissa.split(".")[1] ?? "";
  return Math.min(12, Math.max(0, fraction.length - Number(exponent)));
}

/** Return a span of time in its largest unit: 0 s, 42 s, 3 min, 5 h, 2 d. */
export function age(ms) {
  if (!isNumber(ms)) return UNKNOWN;
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** Return a moment as a local time of day, with the date where it is not today's. */
export function moment(at, now = Date.now()) {
  if (!isNumber(at)) return UNKNOWN;
  const time = new Date(at);
  const pad = (n) => String(n).padStart(2, "0");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(":");
  if (time.toDateString() === new Date(now).toDateString()) return clock;
  return `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())} ${clock}`;
}
