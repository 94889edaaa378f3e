import { expect, test } from 'vitest';
import { fieldsOf, type JsonSchema, parseJson, parseNumber, problemsByField, setAt } from './schema';

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

const listed: JsonSchema = {
  $defs: {
    Run: { title: 'Reward model', properties: { kind: { const: 'run' }, run: { type: 'string' } } },
    Length: { title: 'Length', properties: { kind: { const: 'length' }, target: { type: 'integer', default: 30 } } },
    Term: { title: 'Term', properties: { weight: { type: 'number', default: 1 }, reward: { oneOf: [{ $ref: '#/$defs/Run' }, { $ref: '#/$defs/Length' }] } } },
    Sum: { title: 'Sum', properties: { kind: { const: 'sum' }, rewards: { type: 'array', items: { $ref: '#/$defs/Term' }, minItems: 1, maxItems: 16, title: 'Rewards' } } },
  },
  properties: {
    reward: { oneOf: [{ $ref: '#/$defs/Run' }, { $ref: '#/$defs/Sum' }] },
    context: { type: 'array', items: { type: 'string' } },
    pairs: { type: 'array', items: { type: 'array' } },
  },
};

test('an array of objects is a list of fields, one of texts takes tags, anything else JSON', () => {
  const [reward, context, pairs] = fieldsOf(listed);
  expect([context!.kind, pairs!.kind]).toEqual(['texts', 'json']);
  const sum = reward!.kind === 'union' ? reward!.options[1]! : undefined;
  expect(sum?.initial).toEqual({ kind: 'sum', rewards: [{ weight: 1, reward: { kind: 'run' } }] });
  expect(sum?.fields[0]).toMatchObject({ kind: 'list', item: 'Term', least: 1, most: 16 });
});

test('an item of a list is changed in its place, and its problems find it', () => {
  const config = { reward: { kind: 'sum', rewards: [{ weight: 1, reward: { kind: 'run', run: 'x' } }, { weight: 2, reward: { kind: 'length', target: 3 } }] } };
  const after = setAt(config, ['reward', 'rewards', '1', 'weight'], -0.5) as typeof config;
  expect(Array.isArray(after.reward.rewards)).toBe(true);
  expect(after.reward.rewards.map((one) => one.weight)).toEqual([1, -0.5]);
  expect(config.reward.rewards[1]!.weight).toBe(2);
  const found = problemsByField(
    [
      { field: 'config.reward.rewards.0.reward.run', message: 'unknown' },
      { field: 'config.reward.rewards.1.weight', message: 'no number' },
      { field: 'config.reward.rewards.7.weight', message: 'not there' },
      { field: 'config.reward.rewards', message: 'too few' },
    ],
    fieldsOf(listed),
    config,
  );
  expect(Object.fromEntries(found)).toEqual({ 'reward.rewards.0.reward.run': ['unknown'], 'reward.rewards.1.weight': ['no number'], 'reward.rewards': ['7.weight: not there', 'too few'] });
});

test.each(['2,000', '-12,500', '1,234,567', '1,000e3', '1e999', '-Infinity'])('what could be read as another number is left to the server: %s', (text) => {
  expect([parseNumber(` ${text} `, false), parseNumber(text, true)]).toEqual([text, text]);
});

test('a comma is a point where it can be nothing else', () => {
  expect(['0,005', '-0,125', '2,5', '2,0000', '1,5e3'].map((text) => parseNumber(text, false))).toEqual([0.005, -0.125, 2.5, 2, 1500]);
});

test('JSON is what it means, nothing is an empty object, and what is neither goes to the server as it stands', () => {
  expect(['{"a": [1]}', ' ', '{"a"'].map(parseJson)).toEqual([{ a: [1] }, {}, '{"a"']);
});
