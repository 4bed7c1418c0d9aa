-- A fresh copy enters no index whose questions another answers: what is queued, the indexes of the queue find; what is queued too long, that of
-- transports and states; what a person must decide about and whose answer is awaited, those of the step before.
DROP INDEX deliveries_created;
DROP INDEX deliveries_stuck;
DROP INDEX deliveries_lane;
DROP INDEX deliveries_unreceived;
DROP INDEX deliveries_unacknowledged;
-- Whose copy a home has not opened, `deliveries_unopened` finds.
DROP INDEX deliveries_unread;
