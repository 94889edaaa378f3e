import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider, type QueryKey } from '@tanstack/react-query';
import { createElement, type ReactNode } from 'react';
import { renderToStaticMarkup } from 'react-dom/server';
import { MemoryRouter } from 'react-router';
import { expect, test, vi } from 'vitest';

vi.stubGlobal('addEventListener', () => undefined); // of a page that goes away
vi.stubGlobal('window', { location: { href: 'http://here/samples' } });
const { SamplesPage } = await import('./samples/SamplesPage');
const { Storage } = await import('./system/Storage');
const { DataFigure } = await import('./data/DataFigure');

/** A page where a question got `data` and failed when it was asked again. */
function shown(page: ReactNode, queryKey: QueryKey, data: unknown, address = '/'): string {
  const client = new QueryClient();
  client.getQueryCache().build(client, { queryKey }, { data, dataUpdatedAt: data ? Date.now() : 0, error: new Error('It failed later.'), status: 'error' } as never);
  return renderToStaticMarkup(createElement(MantineProvider, null, createElement(QueryClientProvider, { client }, createElement(MemoryRouter, { initialEntries: [address] }, page))));
}

test('the use of the disk stays where it cannot be measured again', () => {
  const use = { store: '/store', local: true, kinds: [], caches: [], volumes: [], runs: [], freeable: [], removals: 0, trouble: null };
  const seen = shown(createElement(Storage), ['storage'], use);
  expect(seen).toContain('It failed later.');
  expect(seen).toContain('Runs that take up most');
});

test('samples stay where they cannot be read again', () => {
  const columns = Array.from({ length: 8 }, (_, step) => ({ run: 'a', name: 'the run', label: 'the run', algorithm: 'copg', step, steps: [step], reward_mean: 1, n: 4 }));
  const asked = columns.map(({ run, step }) => `${run}@${step}`);
  const page = { columns, items: [], total: 0, prompts: 5, counts: {}, has_gold: false, focus: 0, next_cursor: null };
  const address = `/samples?${new URLSearchParams(asked.map((one) => ['column', one])).toString()}`;
  const seen = shown(createElement(SamplesPage), ['samples', asked.join(), 'rows', null, 'prompt', null], { pages: [page], pageParams: [undefined] }, address);
  expect(seen).toContain('It failed later.');
  expect(seen).toContain('0 of 5 prompts');
});

test('a figure of a data set stays where it cannot be asked for again', () => {
  const figure = { title: 'How long completions are', figure: { data: [], layout: {} } };
  const seen = shown(createElement(DataFigure, { id: 'a', name: 'lengths', version: 'ready 1' }), ['dataset', 'a', 'figure', 'lengths', 'ready 1'], figure);
  expect(seen).toContain('Not up to date: It failed later.');
  expect(seen).toContain('data-status="shown"');
  expect(seen).not.toContain('It cannot be drawn');
});
