import { createIndex, createTable, runStatements, type SchemaChange } from './schema.ts';

/** Everything that the control API began with. */
export async function addFirstTables(change: SchemaChange): Promise<void> {
  await addPeople(change);
  await addDrafts(change);
  await addAppeals(change);
  await addNodes(change);
  await addDuties(change);
  await addAudit(change);
}

async function addPeople(change: SchemaChange): Promise<void> {
  await createTable(change, 'users', {
    id: 'text',
    name: 'text',
    roles: 'text',
    authority: 'text?',
    licensee: 'text?',
    oidc_subject: 'text?!',
    disabled: 'boolean',
    created_seconds: 'integer',
    version: 'integer',
  });
  await createTable(
    change,
    'tokens',
    {
      id: 'text',
      user_id: 'text',
      hash: 'text!',
      label: 'text',
      scopes: 'text',
      created_seconds: 'integer',
      expires_seconds: 'integer',
      revoked_seconds: 'integer?',
    },
    { user_id: 'users' },
  );
  await createIndex(change, 'tokens', 'user_id');
  await createTable(change, 'idempotency', {
    id: 'text',
    body_hash: 'text',
    status: 'integer',
    answer: 'text?',
    created_seconds: 'integer',
  });
  await createIndex(change, 'idempotency', 'created_seconds', 'id');
}

async function addDrafts(change: SchemaChange): Promise<void> {
  await createTable(change, 'drafts', {
    id: 'text',
    type: 'text',
    authority: 'text',
    reference: 'text',
    state: 'text',
    body: 'text',
    drafted_by: 'text',
    approvals: 'text',
    overrides: 'text',
    preflight: 'text?',
    annex_digest: 'text?',
    sealed: 'boolean',
    payload: 'bytes?',
    statement_id: 'text?',
    signatures: 'text',
    appeal_reference: 'text?',
    leaf_index: 'integer?',
    integrated_seconds: 'integer?',
    refusal: 'text?',
    created_seconds: 'integer',
    updated_seconds: 'integer',
    version: 'integer',
  });
  await createIndex(change, 'drafts', 'authority', 'state', 'id');
  await createIndex(change, 'drafts', 'authority', 'id');
  await createIndex(change, 'drafts', 'state', 'id');
  await createIndex(change, 'drafts', 'created_seconds', 'id');
  await createIndex(change, 'drafts', 'updated_seconds', 'id');
  await createIndex(change, 'drafts', 'statement_id');
  await createIndex(change, 'drafts', 'appeal_reference');
  await createIndex(change, 'drafts', 'annex_digest');
  await createTable(change, 'annexes', {
    id: 'text',
    entries: 'integer',
    size_bytes: 'integer',
    bytes: 'bytes',
    created_seconds: 'integer',
  });
  await createIndex(change, 'annexes', 'created_seconds', 'id');
  await createTable(change, 'publications', {
    id: 'text',
    draft_id: 'text',
    envelope: 'bytes',
    annex_digest: 'text?',
    state: 'text',
    attempts: 'integer',
    queued_seconds: 'integer',
    next_attempt_seconds: 'integer',
  });
  await createIndex(change, 'publications', 'state', 'next_attempt_seconds', 'id');
  await createIndex(change, 'publications', 'state', 'queued_seconds', 'id');
  await createIndex(change, 'publications', 'draft_id');
  await createIndex(change, 'publications', 'annex_digest');
}

async function addAppeals(change: SchemaChange): Promise<void> {
  await createTable(change, 'appeals', {
    id: 'text',
    secret_hash: 'text',
    notice_id: 'text',
    authority: 'text',
    entries: 'text',
    standing: 'text',
    state: 'text',
    outcome: 'text?',
    grounds: 'text',
    contact: 'text?',
    language: 'text?',
    late: 'boolean',
    filed_seconds: 'integer',
    acknowledge_by_seconds: 'integer',
    assess_by_seconds: 'integer',
    decide_by_seconds: 'integer',
    acknowledged_seconds: 'integer?',
    assessed_seconds: 'integer?',
    decided_seconds: 'integer?',
    withdrawn_seconds: 'integer?',
    reviewer: 'text?',
    reasons: 'text?',
    cure: 'text?',
    cured_seconds: 'integer?',
    release_draft_id: 'text?',
    release_by_seconds: 'integer?',
    erase_after_seconds: 'integer?',
    version: 'integer',
  });
  await createIndex(change, 'appeals', 'notice_id', 'id');
  await createIndex(change, 'appeals', 'state', 'id');
  await createIndex(change, 'appeals', 'authority', 'state', 'id');
  await createIndex(change, 'appeals', 'authority', 'id');
  await createIndex(change, 'appeals', 'erase_after_seconds', 'id');
  await createIndex(change, 'appeals', 'filed_seconds', 'id');
  await createIndex(change, 'appeals', 'release_draft_id');
  await createTable(
    change,
    'appeal_events',
    {
      id: 'text',
      appeal_id: 'text',
      at_seconds: 'integer',
      actor: 'text',
      kind: 'text',
      note: 'text?',
      private_note: 'text?',
    },
    { appeal_id: 'appeals' },
  );
  await createIndex(change, 'appeal_events', 'appeal_id', 'at_seconds', 'id');
}

async function addNodes(change: SchemaChange): Promise<void> {
  await createTable(change, 'licensees', {
    id: 'text',
    name: 'text',
    classes: 'text',
    created_seconds: 'integer',
    version: 'integer',
  });
  await createTable(change, 'nodes', {
    id: 'text',
    licensee: 'text',
    node: 'text',
    public_key: 'text',
    enrolled_by: 'text',
    enrolled_seconds: 'integer',
    revoked_seconds: 'integer?',
    version: 'integer',
  });
  await createIndex(change, 'nodes', 'licensee', 'id');
  await createIndex(change, 'nodes', 'public_key');
  await createTable(change, 'enrolment_codes', {
    id: 'text',
    licensee: 'text',
    node: 'text',
    created_by: 'text',
    created_seconds: 'integer',
    expires_seconds: 'integer',
    used_seconds: 'integer?',
  });
  await createIndex(change, 'enrolment_codes', 'licensee', 'node');
  await createTable(change, 'receipts', {
    id: 'text',
    node_id: 'text',
    licensee: 'text',
    applied_seconds: 'integer',
    received_seconds: 'integer',
    folded_seconds: 'integer',
    tree_size: 'integer',
    rules: 'integer',
    rules_digest: 'text',
    mode: 'text',
    rejected: 'text?',
    refused_entries: 'integer',
    agrees: 'boolean?',
  });
  await createIndex(change, 'receipts', 'node_id', 'applied_seconds', 'id');
  await createIndex(change, 'receipts', 'licensee', 'applied_seconds', 'id');
  await createIndex(change, 'receipts', 'applied_seconds', 'id');
  await createIndex(change, 'receipts', 'received_seconds', 'id');
  await createIndex(change, 'receipts', 'tree_size', 'id');
}

async function addDuties(change: SchemaChange): Promise<void> {
  await createTable(change, 'webhooks', {
    id: 'text',
    url: 'text',
    events: 'text',
    owner: 'text',
    licensee: 'text?',
    disabled: 'boolean',
    created_seconds: 'integer',
    version: 'integer',
  });
  await createIndex(change, 'webhooks', 'owner', 'id');
  await createTable(
    change,
    'deliveries',
    {
      id: 'text',
      webhook_id: 'text',
      event: 'text',
      body: 'text',
      state: 'text',
      attempts: 'integer',
      next_attempt_seconds: 'integer',
      last_status: 'integer?',
      last_error: 'text?',
      created_seconds: 'integer',
    },
    { webhook_id: 'webhooks' },
  );
  await createIndex(change, 'deliveries', 'state', 'next_attempt_seconds', 'id');
  await createIndex(change, 'deliveries', 'webhook_id', 'id');
  await createIndex(change, 'deliveries', 'created_seconds', 'id');
  await createTable(change, 'takedowns', {
    id: 'text',
    authority: 'text',
    agency: 'text?',
    platform: 'text',
    category: 'text',
    items: 'integer',
    reference: 'text',
    requested_seconds: 'integer',
    removed_seconds: 'integer?',
    recorded_by: 'text',
  });
  await createIndex(change, 'takedowns', 'authority', 'requested_seconds', 'id');
  await createIndex(change, 'takedowns', 'requested_seconds', 'id');
  await createTable(change, 'reminders', {
    id: 'text',
    kind: 'text',
    subject: 'text',
    authority: 'text',
    due_seconds: 'integer',
    told_seconds: 'integer?',
    settled_seconds: 'integer?',
  });
  await createIndex(change, 'reminders', 'due_seconds', 'id');
  await createIndex(change, 'reminders', 'subject', 'kind');
  await createIndex(change, 'reminders', 'authority', 'due_seconds', 'id');
}

/** The trail of changes only grows: the database itself refuses anything else, whoever asks. */
async function addAudit(change: SchemaChange): Promise<void> {
  await createTable(change, 'audit', {
    sequence: 'integer',
    at_seconds: 'integer',
    actor: 'text',
    role: 'text',
    action: 'text',
    subject: 'text',
    reason: 'text?',
    before_hash: 'text?',
    after_hash: 'text?',
    previous_hash: 'text',
    hash: 'text!',
  });
  await createIndex(change, 'audit', 'subject', 'sequence');
  await createIndex(change, 'audit', 'actor', 'sequence');
  await runStatements(change, ...(change.engine === 'sqlite' ? SQLITE_GUARDS : POSTGRES_GUARDS));
}

// An insert is guarded too: "insert or replace" would otherwise alter an entry without an update.
const SQLITE_GUARDS = [
  `create trigger audit_keeps_entries before update on audit
   begin select raise(abort, 'the trail of changes only grows'); end`,
  `create trigger audit_loses_nothing before delete on audit
   begin select raise(abort, 'the trail of changes only grows'); end`,
  `create trigger audit_grows_at_its_end before insert on audit
   when new.sequence is not (select coalesce(max(sequence), 0) + 1 from audit)
   begin select raise(abort, 'the trail of changes grows at its end'); end`,
];

const POSTGRES_GUARDS = [
  // Held by the one transaction that writes; it has no rows.
  'create table pen ()',
  `create function refuse_audit_change() returns trigger language plpgsql as $$
   begin raise exception 'the trail of changes only grows'; end $$`,
  `create trigger audit_only_grows before update or delete or truncate on audit
   for each statement execute function refuse_audit_change()`,
  `create function refuse_audit_gap() returns trigger language plpgsql as $$
   begin
     if new.sequence is distinct from (select coalesce(max(sequence), 0) + 1 from audit) then
       raise exception 'the trail of changes grows at its end';
     end if;
     return new;
   end $$`,
  `create trigger audit_grows_at_its_end before insert on audit
   for each row execute function refuse_audit_gap()`,
];
