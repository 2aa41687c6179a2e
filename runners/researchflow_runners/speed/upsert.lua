-- Writes one entry unless something as new is known. Safe to run again: a repeat with the same
-- token gives the first answer.
-- KEYS  1 entry  2 index  3 changes  4 state
-- ARGV  1 id  2 version  3 origin  4 deleted  5 resource  6 provenance  7 token
--       8 ttl in ms, or ''  9 epoch to begin when there is none  10 entries_max  11 changes_max
--       12 received_at  13 expires_at  14 stream_id: of an entry that is put back, else ''
--       15 incarnation: the source's key of the resource, or ''
-- Gives {outcome, newest version, same content, stream id, received_at, expires_at}.
local entry, index, changes, state = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, version, origin = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local putting_back = ARGV[12] ~= ''

local FIELDS = {
  'version', 'deleted', 'resource', 'provenance', 'token', 'received_at', 'expires_at',
  'stream_id', 'incarnation'
}

local function whole(number)
  return string.format('%.0f', number)
end

-- One clock for all writers: a caller whose clock is wrong cannot hide a change from `since`.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function drop(slot)
  for _, field in ipairs(FIELDS) do
    redis.call('HDEL', entry, slot .. '.' .. field)
  end
end

local function known(slot)
  local found = redis.call('HMGET', entry, slot .. '.version', slot .. '.expires_at')
  local expires = tonumber(found[2] or '')
  if expires and expires <= now then
    return 0
  end
  return tonumber(found[1] or '0')
end

-- Made again at the source, a resource counts its versions anew; the one before is over.
local function is_over()
  local held = redis.call('HGET', entry, 'source.incarnation') or ''
  return origin == 'source' and not putting_back
    and held ~= '' and ARGV[15] ~= '' and held ~= ARGV[15]
end

local source, reported, provisional = known('source'), known('reported'), known('provisional')
if is_over() then
  source = 0
end
local newest = math.max(source, reported, provisional)

local function answer(outcome, slot)
  local held = redis.call('HMGET', entry, slot .. '.stream_id', slot .. '.received_at',
    slot .. '.expires_at', slot .. '.resource', slot .. '.deleted')
  local same = held[4] == ARGV[5] and held[5] == ARGV[4]
  return {outcome, whole(newest), same and '1' or '0', held[1] or '', held[2] or '', held[3] or ''}
end

if not putting_back and redis.call('HGET', entry, origin .. '.token') == ARGV[7] then
  return answer('stored', origin)
end

local own = origin == 'source' and source or known(origin)
if version == own then
  return answer('duplicate', origin)
end
if origin ~= 'source' and version == source then
  return answer('duplicate', 'source')
end
-- A writer's own change is to be seen, so it comes after what is said of the source.
local covered = origin == 'provisional' and not putting_back and version <= reported
if version < own or (origin ~= 'source' and version < source) or covered then
  return {'stale', whole(newest), '0', '', '', ''}
end

if redis.call('EXISTS', entry) == 0 and redis.call('ZCARD', index) >= tonumber(ARGV[10]) then
  return {'cache_full', whole(newest), '0', '', '', ''}
end
if not putting_back and redis.call('XLEN', changes) >= tonumber(ARGV[11]) then
  return {'log_full', whole(newest), '0', '', '', ''}
end

local received_at, expires_at, stream_id = ARGV[12], ARGV[13], ARGV[14]
if not putting_back then
  local before = redis.call('HGET', state, 'head') or '0-0'
  stream_id = redis.call('XADD', changes, '*', 'id', id, 'before', before)
  redis.call('HSET', state, 'head', stream_id)
  redis.call('HSETNX', state, 'epoch', ARGV[9])
  received_at = whole(now)
  expires_at = ARGV[8] ~= '' and whole(now + tonumber(ARGV[8])) or ''
end

redis.call('HSET', entry,
  origin .. '.version', whole(version), origin .. '.deleted', ARGV[4],
  origin .. '.resource', ARGV[5], origin .. '.provenance', ARGV[6],
  origin .. '.token', ARGV[7], origin .. '.received_at', received_at,
  origin .. '.expires_at', expires_at, origin .. '.stream_id', stream_id,
  origin .. '.incarnation', ARGV[15])
if origin == 'source' then
  if reported <= version then
    drop('reported')
  end
  if provisional <= version then
    drop('provisional')
  end
end
redis.call('ZADD', index, 'GT', received_at, id)
newest = math.max(newest, version)
return {'stored', whole(newest), '1', stream_id, received_at, expires_at}
