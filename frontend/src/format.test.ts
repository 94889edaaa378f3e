import { expect, test } from 'vitest';
import { ago, bytes, difference, duration, fact, NONE, number, reward, words } from './format';

test.each([
  [0, '0'], [0.06, '0.06'], [1.23456, '1.235'], [12_345, '12,345'], [1e-6, '1e−6'], [2.5e-7, '2.5e−7'], [-0.00002, '−2e−5'], [-5.6249, '−5.625'], [-1200, '−1,200'], [null, NONE],
])('number(%s) is %s', (value, text) => expect(number(value)).toBe(text));

test.each([
  [8.4, '8 s'], [60, '1 min'], [125, '2 min 5 s'], [3840, '1 h 4 min'], [266_400, '3 d 2 h'], [null, NONE], [Number.POSITIVE_INFINITY, NONE],
])('duration(%s) is %s', (value, text) => expect(duration(value)).toBe(text));

test.each([[0, '0 B'], [999, '999 B'], [1500, '1.5 kB'], [25_000_000, '25 MB']])('bytes(%s) is %s', (value, text) => expect(bytes(value)).toBe(text));

test.each([
  ['needed_bytes', 711_410_000, 'Needed', '711 MB'], ['saving_seconds', 0.1857, 'Saving', '0.19 s'], ['seconds', 75, 'Seconds', '1 min 15 s'],
  ['evaluation_share', 0.25071, 'Evaluation share', '25.1 %'], ['quantile_05', -24.81234, '5 % quantile', '−24.81'], ['parameters', 12_950_000, 'Parameters', '12,950,000'],
  ['free_bytes', null, 'Free', null], ['device', 'cpu', 'Device', 'cpu'],
])('%s of %s is told as %s: %s', (name, value, label, text) => expect(fact(name, value)).toEqual([label, text]));

test('rewards line up and use a real minus', () => expect([reward(-1.5), reward(2), reward(null)]).toEqual(['−1.500', '2.000', NONE]));

test('a difference is no finer than its interval is wide', () => {
  expect(difference(0.0004, 0.0003, 0.0005)).toEqual(['+0.00040', '[+0.00030, +0.00050]']);
  expect(difference(12.25, 10.04, 14.46)).toEqual(['+12.3', '[+10.0, +14.5]']);
  expect(difference(-1.5, null, null)).toEqual(['−1.500', '']);
  expect(difference(0, 0, 0)).toEqual(['0.000', '[0.000, 0.000]']);
});

test('moments are told as distances', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  expect(['2026-01-01T23:59:40Z', '2026-01-01T23:55:00Z', '2026-01-01T21:00:00Z'].map((iso) => ago(iso, now))).toEqual(['just now', '5 min ago', '3 h ago']);
});

test.each([['max_prompt_tokens', 'Max prompt tokens'], ['kl_stderr', 'KL stderr'], ['lora', 'LoRA'], ['dtype', 'dtype'], ['learning rate', 'Learning rate'], ['', '']])('%s is spelt %s', (name, expected) => {
  expect(words(name)).toBe(expected);
});
