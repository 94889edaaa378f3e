import { expect, test, vi } from 'vitest';
import { printPage, whenPrinted } from './printing';

test('printing waits for the figures, and not for those that are gone or cannot', async () => {
  const told: string[] = [];
  vi.stubGlobal('window', { print: () => told.push('printed') });
  const gone = whenPrinted(async () => { told.push('gone'); });
  whenPrinted(() => Promise.reject(new Error('no answer')));
  whenPrinted(async () => { await new Promise((later) => setTimeout(later, 5)); told.push('drawn'); });
  gone();
  await printPage();
  expect(told).toEqual(['drawn', 'printed']);
  vi.unstubAllGlobals();
});
