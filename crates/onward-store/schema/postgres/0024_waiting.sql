-- What the looks read is what waits, not what has waited for a month. Made beside those whose place they take: who drops an index keeps all
-- from reading, so that is a step of its own.

-- The recipient first, so that one recipient's queue is found too.
CREATE INDEX deliveries_queue ON deliveries (recipient, lane, kind, sequence) WHERE state = 'queued';
-- Copies that left or arrived and whose answer is awaited: counted, and known to be told already, without their rows.
CREATE INDEX deliveries_unanswered ON deliveries (state, kind, changed, created, opened, id)
    WHERE acknowledgement_awaited AND ended IS NULL AND state IN ('sent', 'awaiting-collection', 'received');
-- What a person must decide about, in order: copies that failed, and that were not processed.
CREATE INDEX deliveries_dead ON deliveries (created, id) WHERE state = 'failed';
CREATE INDEX deliveries_unprocessed ON deliveries (created, id)
    WHERE state = 'rejected' AND ended IS NULL AND code NOT IN ('20013', '30001', '30002', '30003', '30004', '30005', '30006', '30007', '30008',
        '30009', '30010', '30011', '30012', '30013', '30014', '30015', '30016', '30017', '30018', '30019', '30020', '30021', '30022', '30023',
        '30024', '30025');
