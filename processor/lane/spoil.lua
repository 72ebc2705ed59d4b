-- spoil.lua: the log is another one, and records of both are in the state.
-- KEYS  progress
-- ARGV  next closed, offset after the last record that was the older log's
--
-- Who takes the partition next stops as well.
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and closed ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end
if next then
    redis.call('HSET', KEYS[1], 'older', ARGV[3])
end
return { 'OK' }
