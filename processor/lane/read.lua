-- read.lua: the state of a partition, when a lane takes it.
-- KEYS  progress open
-- Answers OK, progress' fields in this order, open's labels and offsets.
return {
    'OK',
    redis.call('HMGET', KEYS[1], 'next', 'last', 'watermark', 'closed',
               'window', 'lateness', 'version', 'ledger', 'older'),
    redis.call('HGETALL', KEYS[2])
}
