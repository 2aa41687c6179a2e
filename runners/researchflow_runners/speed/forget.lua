-- Removes what the batch layer has covered and what has expired from one resource's entries.
-- KEYS  1 entry  2 index
-- ARGV  1 id  2 covered version, 0 for none
-- Gives how many entries were removed.
local entry, index = KEYS[1], KEYS[2]
local covered = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local removed, left = 0, 0
for _, slot in ipairs({'source', 'provisional'}) do
  local found = redis.call('HMGET', entry, slot .. '.version', slot .. '.expires_at')
  if found[1] then
    local expires = tonumber(found[2] or '')
    if tonumber(found[1]) <= covered or (expires and expires <= now) then
      for _, field in ipairs({'version', 'deleted', 'resource', 'provenance', 'token',
                              'received_at', 'expires_at', 'stream_id'}) do
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
