import { expect, test } from 'vitest';
import { placeAfter } from './session';

const here = 'http://127.0.0.1:8000/login?next=x';

test('one comes back to where one was', () => {
  expect(placeAfter('/runs/abc/log?x=1#end', here)).toBe('/runs/abc/log?x=1#end');
  expect(placeAfter(null, here)).toBe('/');
});

test.each(['https://evil.example/', '//evil.example/x', '/\\evil.example', 'javascript:alert(1)', 'http://127.0.0.1:9000/', 'http://[', '/login?next=/login'])('a link leads nowhere else: %s', (next) => {
  expect(placeAfter(next, here)).toBe('/');
});
