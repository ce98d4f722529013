import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { repeatsQuestion } from '../../src/dns/reply.ts';
import { composeQuery, composeRecord, wireName } from './message.ts';

const RESPONSE = 0x8180;
const NAME = 'wWw.ExAmPlE.cOm';
const query = composeQuery({ name: NAME, qtype: 65 });
const address = composeRecord({ owner: Uint8Array.of(0xc0, 0x0c), type: 1, data: Uint8Array.of(1, 2, 3, 4) });

/** Whether a reply passes as one to `query`; both lie at odd places of larger arrays. */
function repeats(reply: Uint8Array, asked = query): boolean {
  const replies = new Uint8Array(reply.length + 20).fill(0xff);
  const queries = new Uint8Array(asked.length + 20).fill(0xff);
  replies.set(reply, 7);
  queries.set(asked, 3);
  const repeated = repeatsQuestion(replies, 7, reply.length, queries, 3, asked.length);
  reply.set(replies.subarray(7, 7 + reply.length));
  return repeated;
}

const reply = (spec: Parameters<typeof composeQuery>[0]) =>
  composeQuery({ flags: RESPONSE, name: NAME, qtype: 65, ...spec });

describe('repeatsQuestion', () => {
  it.each([
    ['the same question', true, reply({})],
    ['the same question and an answer', true, reply({ answers: [address] })],
    ['lower case', true, reply({ name: NAME.toLowerCase() })],
    ['an error without a question', true, reply({ flags: 0x8182, counts: [0, 0, 0, 0] }).slice(0, 12)],
    ['no error and no question', false, reply({ counts: [0, 0, 0, 0] }).slice(0, 12)],
    ['an error that says it has no question, and more', false, reply({ flags: 0x8182, counts: [0, 0, 0, 0] })],
    ['a query', false, reply({ flags: 0x0100 })],
    ['11 octets', false, reply({}).slice(0, 11)],
    ['a question cut short', false, reply({}).slice(0, -1)],
    ['two questions', false, reply({ counts: [2, 0, 0, 0] })],
    ['257 questions', false, reply({ counts: [257, 0, 0, 0] })],
    ['another name', false, reply({ name: 'wWw.ExAmPlE.cOn' })],
    ['a name that ends alike', false, reply({ name: `x${NAME}` })],
    ['labels cut elsewhere', false, reply({ name: wireName('wWwaExAmPlE.cOm') })],
    ['another type', false, reply({ qtype: 1 })],
    ['a type that differs as letters of two cases do', false, reply({ qtype: 97 })],
    ['another class', false, reply({ qclass: 3 })],
  ])('%s: %s', (_, expected, message) => {
    expect(repeats(message)).toBe(expected);
  });

  it('does not take octets that differ by the case bit but are no letters for equal', () => {
    for (const [a, b] of ['@`', '[{', '0P', '-\r', '_\x7f'].map((pair) => [...pair])) {
      const asked = composeQuery({ name: `${a}.example` });
      expect(repeats(reply({ name: `${b}.example`, qtype: 1 }), asked)).toBe(false);
    }
  });

  it('puts the spelling of the query back', () => {
    const label = fc.stringMatching(/^[a-zA-Z0-9-]{1,20}$/);
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 4 }), fc.boolean(), (labels, upper) => {
        const name = labels.join('.');
        const asked = composeQuery({ name });
        const answer = composeQuery({
          flags: RESPONSE,
          name: upper ? name.toUpperCase() : name.toLowerCase(),
          answers: [address],
        });
        expect(repeats(answer, asked)).toBe(true);
        expect(Buffer.compare(answer, composeQuery({ flags: RESPONSE, name, answers: [address] }))).toBe(0);
      }),
    );
  });

  it('leaves a reply to another question as it is', () => {
    const other = reply({ name: 'www.example.net' });
    const kept = other.slice();
    expect(repeats(other)).toBe(false);
    expect(Buffer.compare(other, kept)).toBe(0);
  });
});
