import { expect, test } from 'vitest';
import { fieldsOf, type JsonSchema, parseNumber, problemsByField, setAt } from './schema';

const schema: JsonSchema = {
  $defs: {
    Hub: { title: 'Hub model', properties: { kind: { const: 'hub' }, id: { type: 'string' }, revision: { type: 'string', default: 'main' } } },
    Run: { title: 'Output of a run', properties: { kind: { const: 'run' }, run: { type: 'string' } } },
    Optimizer: { title: 'Optimizer', properties: { learning_rate: { type: 'number', unit: '1' }, schedule: { enum: ['constant', 'cosine'] } } },
  },
  properties: {
    algorithm: { const: 'copg' },
    beta: { type: 'number', title: 'Beta', unit: 'reward units per nat' },
    steps: { anyOf: [{ type: 'integer' }, { type: 'null' }], title: 'Steps' },
    policy: { oneOf: [{ $ref: '#/$defs/Hub' }, { $ref: '#/$defs/Run' }], title: 'Model' },
    optimizer: { $ref: '#/$defs/Optimizer' },
  },
};
const fields = fieldsOf(schema);
const field = (name: string) => fields.find((one) => one.name === name)!;

test('each shape of pydantic becomes a kind of field', () => {
  expect(fields.map((one) => one.kind)).toEqual(['const', 'number', 'integer', 'union', 'object']);
  expect(field('beta')).toMatchObject({ title: 'Beta', unit: 'reward units per nat', nullable: false });
  expect(field('steps').nullable).toBe(true);
});

test('a union knows its tag, its options and what each starts from', () => {
  const union = field('policy');
  expect(union.kind === 'union' && union.tag).toBe('kind');
  expect(union.kind === 'union' && union.options.map((one) => [one.value, one.initial])).toEqual([['hub', { kind: 'hub', revision: 'main' }], ['run', { kind: 'run' }]]);
});

test('problems find the field that shows them, or the nearest place that does', () => {
  const config = { policy: { kind: 'run', run: 'x' } };
  const found = problemsByField(
    [
      { field: 'config.beta', message: 'too small' },
      { field: 'config.optimizer.learning_rate', message: 'no number' },
      { field: 'config.policy.run', message: 'unknown' },
      { field: 'config.policy.id', message: 'not shown' },
      { field: 'config', message: 'does not fit' },
    ],
    fields,
    config,
  );
  expect(Object.fromEntries(found)).toEqual({ beta: ['too small'], 'optimizer.learning_rate': ['no number'], 'policy.run': ['unknown'], policy: ['id: not shown'], '': ['does not fit'] });
});

test('setting a value copies along the path and nowhere else', () => {
  const before = { optimizer: { learning_rate: 1 }, evaluation: { every: 50 } };
  const after = setAt(before, ['optimizer', 'learning_rate'], 2);
  expect(after).toEqual({ optimizer: { learning_rate: 2 }, evaluation: { every: 50 } });
  expect(after.evaluation).toBe(before.evaluation);
  expect(before.optimizer.learning_rate).toBe(1);
  expect(setAt(before, ['evaluation'], undefined)).toEqual({ optimizer: { learning_rate: 1 } });
});

test('what is typed is a number where it is one, and goes to the server as it is where not', () => {
  expect([parseNumber('1e-6', false), parseNumber('0,5', false), parseNumber('abc', false), parseNumber('', true), parseNumber('', false)]).toEqual([1e-6, 0.5, 'abc', null, undefined]);
});
