-- page.lua: the next page of a window's members, with counts and rows.
-- KEYS  progress unique count file
-- ARGV  next closed, cursor, about how many
-- Answers OK, the next cursor, how many members the window has, then member,
-- count, row of each.
local next, closed = unpack(redis.call('HMGET', KEYS[1], 'next', 'closed'))
if (next or '') ~= ARGV[1] or (next and closed ~= ARGV[2]) then
    return { 'FENCED', next or '', closed or '' }
end

-- An open window has members, and each of them in all three keys: a window
-- that Redis lost in part must not become final rows.
local n = redis.call('SCARD', KEYS[2])
if n == 0 or redis.call('HLEN', KEYS[3]) ~= n
   or redis.call('HLEN', KEYS[4]) ~= n
then
    return { 'BROKEN' }
end

local page = redis.call('HSCAN', KEYS[3], ARGV[3], 'COUNT', ARGV[4])
local answer = { 'OK', page[1], n }
for i = 1, #page[2], 2 do
    local file = redis.call('HGET', KEYS[4], page[2][i])
    if not file then
        return { 'BROKEN' }
    end
    answer[#answer + 1] = page[2][i]
    answer[#answer + 1] = page[2][i + 1]
    answer[#answer + 1] = file
end
return answer
