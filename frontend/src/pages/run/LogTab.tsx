/** The end of the log; it follows while the run is at work. */
import { Button, Group, Switch } from '@mantine/core';
import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { api, data, messageOf, type RunDetail } from '../../api/client';
import { Copy, Failure } from '../../components/parts';
import { bytes } from '../../format';

const CHUNK = 131_072;
const AT_END = 4; // px: a scaled screen stops at fractions
const UPWARD = new Set(['Home', 'PageUp', 'ArrowUp']);

function save(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url)); // the download has begun by then
}

export function LogTab({ run }: { run: RunDetail }) {
  const [text, setText] = useState('');
  const [start, setStart] = useState(0);
  const [size, setSize] = useState<number | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [follow, setFollow] = useState(true);
  const box = useRef<HTMLPreElement>(null);
  const place = useRef<{ of: string; next?: number }>({ of: '' }); // where to read on, though the run's state changes meanwhile
  const active = run.state === 'running' || run.state === 'cancelling';

  useEffect(() => {
    const of = `${run.id} ${run.fence}`;
    if (place.current.of !== of) place.current = { of };
    const here = place.current;
    let timer: ReturnType<typeof setTimeout>;
    let over = false;
    const read = (offset?: number) => data(api.GET('/api/v1/runs/{run_id}/log', { params: { path: { run_id: run.id }, query: { offset, limit: CHUNK } } }));
    const tick = async (): Promise<void> => {
      try {
        // Without an offset the server gives the tail.
        const chunk = await read(here.next);
        if (over) return;
        const first = here.next === undefined; // React may ask for the new text later
        if (first) setStart(chunk.offset);
        setText((before) => (first ? chunk.text : before + chunk.text));
        here.next = chunk.next_offset;
        setSize(chunk.size);
        setProblem(null);
        const more = here.next < chunk.size && chunk.text !== ''; // a character's last bytes may be yet to come
        if (active || more) timer = setTimeout(() => void tick(), more ? 0 : 1000);
      } catch (error) {
        if (over) return;
        setProblem(messageOf(error));
        if (active) timer = setTimeout(() => void tick(), 3000);
      }
    };
    void tick();
    return () => { over = true; clearTimeout(timer); };
  }, [run.id, run.fence, active]);

  // With the text, or a scroll event in between would see the old place as one that somebody chose.
  useLayoutEffect(() => { if (follow && box.current) box.current.scrollTop = box.current.scrollHeight; }, [text, follow]);

  // A key glides: a line that comes before the first scroll event must not pull it back, nor one that comes later leave it short of the new end.
  const pressed = ({ key, currentTarget }: KeyboardEvent): void => {
    if (key === 'End') setFollow(true);
    if (UPWARD.has(key) && currentTarget.scrollTop > 0) setFollow(false);
  };

  return (
    <div className="panel" style={{ overflow: 'hidden' }}>
      <Group p={10} gap={14} style={{ borderBottom: '1px solid var(--c-border)' }}>
        <Switch size="xs" label="Follow the end" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} />
        <span className="muted num" style={{ fontSize: 12 }}>{size !== null && bytes(size)}{start > 0 && `, the last ${bytes((size ?? 0) - start)} shown`}</span>
        <div className="push" style={{ display: 'flex', gap: 8 }}>
          <Copy text={text} />
          <Button size="compact-xs" variant="default" onClick={() => save(text, `${run.id}-log.txt`)}>Save</Button>
        </div>
      </Group>
      {problem && !text ? <div style={{ padding: 14 }}><Failure title="The log cannot be read" error={problem} /></div>
        : <pre className="log" ref={box} tabIndex={0} aria-label="Log" data-testid="log" onKeyDown={pressed} onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => setFollow(scrollHeight - scrollTop - clientHeight < AT_END)}>{text || <span className="muted">{size === null ? 'Reading…' : 'Nothing was written yet.'}</span>}</pre>}
    </div>
  );
}
