import { expect, test } from 'vitest';
import { askedBy } from './Scheduling';

test('a clone asks what its origin asked, and leaves empty what was left empty', () => {
  expect(askedBy(undefined)).toEqual({});
  expect(askedBy({ gpus: null, priority: 0, max_seconds: null, max_attempts: 3 })).toEqual({});
  expect(askedBy({ gpus: 0, priority: -5, max_seconds: 7200, max_attempts: 1 })).toEqual({ gpus: 0, priority: -5, max_seconds: 7200, max_attempts: 1 });
});
