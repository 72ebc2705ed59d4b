-- rows.lua: counts and rows of the given members, as of `next`.
-- KEYS  progress count file
-- ARGV  next closed, then members
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and closed ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end

local answer = { 'OK' }
for i = 3, #ARGV do
    local count = redis.call('HGET', KEYS[2], ARGV[i])
    local file = redis.call('HGET', KEYS[3], ARGV[i])
    if not count or not file then
        return { 'BROKEN' }
    end
    answer[#answer + 1] = ARGV[i]
    answer[#answer + 1] = count
    answer[#answer + 1] = file
end
return answer
