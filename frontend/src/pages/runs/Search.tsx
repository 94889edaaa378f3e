/** The words that the table is searched for. They stand in the address, which follows the typing and never leads it: an
 * address that is still on its way would take letters back. */
import { TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { type RefObject, useEffect, useRef, useState } from 'react';

const PAUSE = 50; // ms without a key until the address is written

export function Search({ words, search, narrow, field }: { words: string; search: (words: string) => void; narrow: boolean; field: RefObject<HTMLInputElement | null> }) {
  const [typed, setTyped] = useState(words);
  const underway = useRef<string[]>([]); // what was written into the address and does not stand there yet
  const send = useRef(search);
  send.current = search;
  useEffect(() => {
    const mine = underway.current.indexOf(words);
    if (mine < 0) setTyped(words); // a link, a step back, another filter
    underway.current = mine < 0 ? [] : underway.current.slice(mine + 1);
  }, [words]);
  useEffect(() => {
    if (typed === (underway.current.at(-1) ?? words)) return undefined;
    const timer = setTimeout(() => { underway.current.push(typed); send.current(typed); }, PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  return <TextInput ref={field} aria-label="Search runs" placeholder="Search name or id" size="xs" w={narrow ? undefined : 210} style={{ flex: narrow ? 1 : undefined }} leftSection={<IconSearch size={14} />} value={typed} onChange={(event) => setTyped(event.currentTarget.value)} />;
}
