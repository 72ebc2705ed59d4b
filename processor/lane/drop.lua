-- drop.lua: forget a state that can't be built on; the log has it all.
-- KEYS  progress open [unique count file of every open window]
-- ARGV  next closed, as they were read when that was decided
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and (closed or '') ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end

redis.call('DEL', KEYS[1], KEYS[2])
for i = 3, #KEYS do
    redis.call('UNLINK', KEYS[i])
end
return { 'OK' }
