-- ask.lua: which members are in their windows' sets already?
-- KEYS  progress open [unique of each window asked about]
-- ARGV  next closed, then for each window: how many members, the members
-- Answers one text a window: a digit for each member, 1 for known.
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and closed ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end

local answer, at = { 'OK' }, 3
for i = 3, #KEYS do
    local count, digits = tonumber(ARGV[at]), {}
    for j = at + 1, at + count do
        -- Without progress whatever else is left belongs to no state.
        digits[#digits + 1] = next and redis.call('SISMEMBER', KEYS[i],
                                                  ARGV[j]) or 0
    end
    answer[#answer + 1] = table.concat(digits)
    at = at + 1 + count
end
return answer
