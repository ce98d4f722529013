import { nameAt } from './names.ts';

/** A notice draft with `count` subtree names from `nameAt(first)` on. JSON is YAML. */
export function draftNotice(number: number, first: number, count: number): string {
  return JSON.stringify({
    type: 'notice',
    authority: 'mcmc',
    reference: `BENCH/${number + 1}`,
    instrument: 'cma-233',
    category: 'online-scams',
    offence: 'CMA 1998 s.233(1)(a), fraud and dishonesty',
    territory: 'Malaysia',
    dates: { made: 'now', approved: 'now', effectiveFrom: 'now' },
    term: { expires: '30d' },
    recipients: { all: true },
    reasons: { public: 'Made for a bench.' },
    proportionality: {
      alternatives: 'None.',
      sourceTakedown: { asked: false, detail: 'A bench.' },
      ownerWarned: { warned: false, detail: 'A bench.' },
      coTenants: 'None.',
      balance: 'None.',
    },
    redress: {
      body: 'Appeals desk',
      contacts: ['mailto:appeals@mcmc.example'],
      address: 'Cyberjaya, Selangor',
      withinDays: 30,
    },
    languages: ['en'],
    draftedBy: 'officer-drafting',
    approvals: [{ officer: 'officer-one', role: 'approving-officer', at: 'now' }],
    names: Array.from({ length: count }, (_, i) => ({ subtree: nameAt(first + i) })),
  });
}
