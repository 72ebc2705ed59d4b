-- closed.lua: windows leave the state after their rows became final.
-- KEYS  progress open [unique count file of each window]
-- ARGV  next closed (both as the close read them), closed from now on,
--       TTL for looking at them, then the windows' labels
--
-- FENCED here means that someone applied records after the close had read the
-- window, not knowing of it; whoever takes the partition then sees a state
-- that is ahead of the close and behind it in `closed`, and drops it.
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if not next or next ~= ARGV[1] or closed ~= ARGV[2] then
    return { 'FENCED', next or '', closed or '' }
end

-- A full Redis refuses a script whose first write needs memory, and closing
-- is what gives memory back: so what frees comes first, if only in form.
redis.call('HDEL', KEYS[2], '')
for i = 5, #ARGV do
    redis.call('HDEL', KEYS[2], ARGV[i])
end
for i = 3, #KEYS, 3 do
    -- Redis frees what expires while all others wait, unless it is told not
    -- to (lazyfree-lazy-expire); what is unlinked it frees beside its work.
    if ARGV[4] == '0' or redis.call('SCARD', KEYS[i]) > 10000 then
        redis.call('UNLINK', KEYS[i], KEYS[i + 1], KEYS[i + 2])
    else
        for j = i, i + 2 do
            redis.call('PEXPIRE', KEYS[j], ARGV[4])
        end
    end
end
redis.call('HSET', KEYS[1], 'closed', ARGV[3])
return { 'OK' }
