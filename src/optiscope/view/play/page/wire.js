// The wire: JSON out, JSON or float32 back, and no answer that a newer question has overtaken.

export async function ask(path, facts) {
  const reply = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(facts),
  });
  if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).message || reply.statusText);
  return reply;
}

export const askJson = async (path, facts) => (await ask(path, facts)).json();
export const askFloats = async (path, facts) => new Float32Array(await (await ask(path, facts)).arrayBuffer());

/** Run `work` now, or once more after the run that is under way: of many wishes the last one counts. */
export function latest(work, failed) {
  let busy = false, again = false;
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      try { await work(); } catch (error) { failed(error); }
    }
    busy = false;
  };
}

/** Lines of JSON as they come. */
export async function* lines(path, facts, signal) {
  const reply = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(facts), signal,
  });
  if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).message || reply.statusText);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}
