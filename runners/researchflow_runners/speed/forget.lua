-- Removes of one resource's entries what has expired, and what has been applied and PostgreSQL
-- does not hold: a refresh covered it, or the resource it belonged to is gone.
-- KEYS  1 entry  2 index  3 state
-- ARGV  1 id  2 source version, 3 reported, 4 provisional version that PostgreSQL holds, or ''
--       5 epoch  6 stream position up to which the log is applied
-- Gives how many entries were removed.
local entry, index, state = KEYS[1], KEYS[2], KEYS[3]
local held = {source = ARGV[2], reported = ARGV[3], provisional = ARGV[4]}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- After a loss PostgreSQL has not seen what is here.
local same_epoch = redis.call('HGET', state, 'epoch') == ARGV[5]

local function order(stream_id)
  local ms, number = string.match(stream_id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

local function is_applied(stream_id)
  local ms, number = order(stream_id)
  local last_ms, last_number = order(ARGV[6])
  return ms < last_ms or (ms == last_ms and number <= last_number)
end

local removed, left = 0, 0
for slot, version in pairs(held) do
  local found = redis.call('HMGET', entry, slot .. '.version', slot .. '.expires_at',
    slot .. '.stream_id')
  if found[1] then
    local expires = tonumber(found[2] or '')
    local dropped = same_epoch and found[1] ~= version and is_applied(found[3])
    if dropped or (expires and expires <= now) then
      for _, field in ipairs({'version', 'deleted', 'resource', 'provenance', 'token',
                              'received_at', 'expires_at', 'stream_id', 'incarnation'}) do
        redis.call('HDEL', entry, slot .. '.' .. field)
      end
      removed = removed + 1
    else
      left = left + 1
    end
  end
end
if left == 0 then
  redis.call('ZREM', index, ARGV[1])
end
return removed
