"""The Lua scripts of the Redis bus: each is atomic, and touches the keys of one hash tag only.

Times are the server's own, in milliseconds: the clocks of two hosts are never compared.
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_REFRESH = """
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, session_ttl) end
"""

# KEYS: a stage's workers. ARGV: worker, what it says of itself, ttl, ttl of the key.
ADVERTISE = (
    _NOW
    + """
redis.call('HSET', KEYS[1], ARGV[1], now + ARGV[3] .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""
)

# KEYS: a stage's workers. Answers what each live one says of itself, and forgets the dead.
LIVE_WORKERS = (
    _NOW
    + """
local all, live = redis.call('HGETALL', KEYS[1]), {}
for index = 1, #all, 2 do
  local space = string.find(all[index + 1], ' ', 1, true)
  if tonumber(string.sub(all[index + 1], 1, space - 1)) > now then
    live[#live + 1] = string.sub(all[index + 1], space + 1)
  else
    redis.call('HDEL', KEYS[1], all[index])
  end
end
return live
"""
)

# KEYS: the lease. Answers fence, last worker, 1 while that worker's lease runs.
LOOK = (
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'fence', 'worker', 'expiry')
local live = held[2] and tonumber(held[3]) > now
return {held[1] or '0', held[2] or '', live and 1 or 0}
"""
)

# KEYS: the lease, then the session's other keys. ARGV: session ttl, fence, worker, ttl.
# Takes the lease for the fence after the present one; 0 when somebody was quicker. Doing it twice
# is as good as once, as the client may when an answer was lost.
TAKE = (
    _NOW
    + """
local session_ttl, fence, worker = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('HMGET', KEYS[1], 'fence', 'worker')
local is_next = tonumber(held[1] or '0') + 1 == tonumber(fence)
if not is_next and not (held[1] == fence and held[2] == worker) then return 0 end
redis.call('HSET', KEYS[1], 'fence', fence, 'worker', worker, 'expiry', now + ARGV[4])
"""
    + _REFRESH
    + "return 1"
)

# KEYS and ARGV as TAKE. 0 when the lease has another owner or fence, or has run out.
RENEW = (
    _NOW
    + """
local session_ttl = ARGV[1]
local held = redis.call('HMGET', KEYS[1], 'fence', 'worker', 'expiry')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] or tonumber(held[3]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'expiry', now + ARGV[4])
"""
    + _REFRESH
    + "return 1"
)

# KEYS: the lease. ARGV: fence, worker. The fence stays, for the next owner to rise above.
RELEASE = """
local held = redis.call('HMGET', KEYS[1], 'fence', 'worker')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], 'worker', 'expiry')
"""

# KEYS: every key of the session, its num_leases leases first. Answers {fence, worker} of each.
FORGET = """
local held = {}
for index = 1, tonumber(ARGV[1]) do
  local lease = redis.call('HMGET', KEYS[index], 'fence', 'worker')
  held[index] = {lease[1] or '', lease[2] or ''}
end
redis.call('DEL', unpack(KEYS))
return held
"""

# KEYS: a worker's slots. ARGV: slot, number of slots, ttl, ttl of the key. 0 when all are taken.
RESERVE_SLOT = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local is_new = not redis.call('ZSCORE', KEYS[1], ARGV[1])
if is_new and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

# KEYS: a worker's slots. ARGV: slot, ttl, ttl of the key. 0 when it has run out.
KEEP_SLOT = (
    _NOW
    + """
local expiry = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expiry or tonumber(expiry) <= now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
)

# KEYS: a worker's slots by expiry. Answers how many have not run out.
COUNT_LIVE = _NOW + "return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')"

# KEYS: the line's tickets by number, and by expiry; the last number given out; those that stand
# aside. ARGV: ticket, how many may wait, ttl, ttl of the keys, 1 for one that steps aside. Answers
# how many stand before the ticket, and not aside; -1 when too many.
STAND_IN_LINE = (
    _NOW
    + """
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)
for _, ticket in ipairs(gone) do
  redis.call('ZREM', KEYS[1], ticket)
  redis.call('ZREM', KEYS[2], ticket)
  redis.call('SREM', KEYS[4], ticket)
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return -1 end
  redis.call('ZADD', KEYS[1], redis.call('INCR', KEYS[3]), ARGV[1])
end
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call(ARGV[5] == '1' and 'SADD' or 'SREM', KEYS[4], ARGV[1])
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[4]) end
local before = 0
for _, ticket in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if ticket == ARGV[1] then return before end
  if redis.call('SISMEMBER', KEYS[4], ticket) == 0 then before = before + 1 end
end
"""
)

# KEYS: the line's tickets by expiry; those that stand aside. Answers how many wait and do not.
COUNT_LINE = (
    _NOW
    + """
local waiting = 0
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
  if redis.call('SISMEMBER', KEYS[2], ticket) == 0 then waiting = waiting + 1 end
end
return waiting
"""
)

# KEYS: what a quota's holders have spent. ARGV: holder, its amount in all, ttl. Answers the sum.
SPEND = """
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) >= before then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local sum = 0
for _, amount in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + tonumber(amount) end
return tostring(sum)
"""

# KEYS: a name. ARGV: the value that it loses, where it has it.
DISCLAIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

# KEYS: the lease, its ledger. ARGV: session ttl, fence, seq, entry id, length, payload.
#
# The entry id is "<fence>-<seq + 1>". Redis refuses any id that is not above the highest it has
# ever seen in the stream, so that even without the lease beside it no zombie of an older fence can
# write below a newer one and no chunk stands twice under one. seq + 1, because 0-0 is no legal id:
# this way every (fence, seq) from (0, 0) on is one.
COMMIT = (
    """
local session_ttl, fence, seq = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('HMGET', KEYS[1], 'fence', 'seq')
if held[1] ~= fence then return 'fenced' end
if held[2] and tonumber(held[2]) >= tonumber(seq) then return 'duplicate' end
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '=', ARGV[5], ARGV[4], 'payload', ARGV[6])
if type(added) == 'table' and added.err then
  if string.find(added.err, 'equal or smaller', 1, true) then return 'fenced' end
  return added
end
redis.call('HSET', KEYS[1], 'seq', seq)
"""
    + _REFRESH
    + "return 'committed'"
)

# KEYS: the session's control stream, its epoch. ARGV: session ttl, length, kind, value; a value of
# '' is the epoch, raised by one. Answers the value.
POST = (
    """
local session_ttl, value = ARGV[1], ARGV[4]
if value == '' then value = redis.call('INCR', KEYS[2]) end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'kind', ARGV[3], 'value', value)
"""
    + _REFRESH
    + "return value"
)
