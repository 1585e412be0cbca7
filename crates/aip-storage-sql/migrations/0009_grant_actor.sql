-- Whose account a grant is for (`did`) and who acts with it. Without a value: the same account.
ALTER TABLE grants ADD COLUMN actor TEXT;
