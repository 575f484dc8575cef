"""The one script by which gateways take shares of limits from Redis, and give back what they do not need.

What Redis knows of an account are the same levels and sums as the account book has of one machine's, by
Redis's own clock. What a share takes is gone from them at once, so all shares together never exceed a limit.
"""

from __future__ import annotations

import msgspec

from gateway.agreement.link import Script


class Amounts(msgspec.Struct, array_like=True):
    """Of the four things that limits bound."""

    requests: float = 0.0
    tokens: float = 0.0
    budget: float = 0.0
    """Tokens of the day and of the month."""
    places: int = 0


class Ask(msgspec.Struct):
    """One account's part of an exchange. A bound of 0 is none."""

    account: str
    bounds: tuple[float, float, float, float, int]
    """Requests and tokens a minute, tokens of a day and of a month, requests at once."""
    back: Amounts
    """What is given back, less than 0 for what was used beyond what had been taken; `places` are all that
    this process has."""
    need: Amounts
    """All of it is given, or nothing at all."""
    queued: Amounts
    """As much of it as there is."""
    ahead: Amounts
    """As much of it as a fair part of what is left then."""
    known: tuple[int, float, int, float]
    """Day, its tokens, month, its tokens: where Redis knows nothing, as after it lost what it had."""
    of_month: tuple[float, int] = (0.0, 0)
    """As `back.budget`, but of days that are over: so many tokens are left of that month alone."""
    day: int = 0
    """Of `back.budget`, by the process's own clock."""


class ShareRequest(msgspec.Struct):
    """What a process asks for at once."""

    member: str
    alive_s: float
    """After so long without a word from it its places are free for others."""
    turn: int
    """Grows by one with each; what is given back under an earlier one is not counted twice."""
    accounts: list[Ask]


class Given(msgspec.Struct):
    """The answer for one account."""

    enough: bool
    """Whether what was needed was there."""
    amounts: Amounts
    level: float
    """Requests that are left to everybody now."""
    token_level: float
    day: int
    day_tokens: float
    month: int
    month_tokens: float
    in_flight: int
    """Places of all together."""


class ShareAnswer(msgspec.Struct):
    members: int
    accounts: list[Given]


# Levels are stored with six digits, so that a millionth too little is enough.
# cjson writes an empty table as `{}`, so that the answer to no account is written by hand.
EXCHANGE = Script("""
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local asked = cjson.decode(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- Nobody has said so much: by a clock that was set back since, or is another server's.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.6f', now + asked.alive_s + 1), '+inf')
redis.call('ZADD', KEYS[1], now + asked.alive_s, asked.member)
local members = redis.call('ZCARD', KEYS[1])
local turn_key = KEYS[2]
local fresh = asked.turn > tonumber(redis.call('GET', turn_key) or '0')
if fresh then redis.call('SET', turn_key, asked.turn, 'EX', 86400) end

local day = math.floor(now / 86400)
local z = day + 719468  -- the civil calendar's month, counted from the year 0
local era = math.floor(z / 146097)
local doe = z - era * 146097
local leaps = math.floor(doe / 1460) - math.floor(doe / 36524) + math.floor(doe / 146096)
local yoe = math.floor((doe - leaps) / 365)
local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
local mp = math.floor((5 * doy + 2) / 153)
local month = (yoe + era * 400) * 12 + (mp < 10 and mp + 2 or mp - 10)
if mp >= 10 then month = month + 12 end

local function refilled(level, at, bound)
  if level == nil or now < at - 60 then return bound end
  return math.min(bound, level + math.max(0, now - at) * bound / 60)
end

local function taken(left, need, queued, ahead, whole)
  local rest = left - need
  if whole then rest = math.floor(rest + 0.000001) end
  local second = math.max(0, math.min(queued, rest))
  rest = rest - second
  local third = math.max(0, math.min(ahead, math.floor(rest / (4 * members))))
  return need + second + third
end

-- Of a bound that there is none of nothing is known: one that is set later begins full.
local function kept(left, bound) return bound > 0 and string.format('%.6f', left) or '' end

local given = {}
for i, one in ipairs(asked.accounts) do
  local key, places_key = KEYS[2 * i + 1], KEYS[2 * i + 2]
  local bounds, back, need, queued, ahead = one.bounds, one.back, one.need, one.queued, one.ahead
  local row = redis.call('HMGET', key,
    'level', 'at', 'tokens', 'tokens_at', 'day', 'day_tokens', 'month', 'month_tokens')
  for n = 1, 8 do row[n] = row[n] and tonumber(row[n]) or nil end
  if row[5] == nil then
    for n = 1, 4 do row[4 + n] = one.known[n] end
  end
  local level, tokens = refilled(row[1], row[2], bounds[1]), refilled(row[3], row[4], bounds[2])
  local day_tokens = row[5] == day and row[6] or 0
  local month_tokens = row[7] == month and row[8] or 0
  if fresh then
    level = math.max(math.min(bounds[1], level + back[1]), math.min(level, -bounds[1]))
    tokens = math.max(math.min(bounds[2], tokens + back[2]), math.min(tokens, -bounds[2]))
    day_tokens = math.max(0, day_tokens - back[3])
    month_tokens = math.max(0, month_tokens - back[3])
    if one.of_month and one.of_month[2] == month then
      month_tokens = math.max(0, month_tokens - one.of_month[1])
    end
  end
  local budget = math.huge
  if bounds[3] > 0 then budget = bounds[3] - day_tokens end
  if bounds[4] > 0 then budget = math.min(budget, bounds[4] - month_tokens) end

  local others = 0
  if bounds[5] > 0 then
    local held = redis.call('HGETALL', places_key)
    for n = 1, #held, 2 do
      if held[n] ~= asked.member then
        if redis.call('ZSCORE', KEYS[1], held[n]) then others = others + tonumber(held[n + 1])
        else redis.call('HDEL', places_key, held[n]) end
      end
    end
  end
  local room = bounds[5] - others - back[4]

  local enough = (bounds[1] == 0 or level - need[1] > -0.000001 or need[1] == 0)
    and (bounds[2] == 0 or tokens - need[2] > -0.000001 or need[2] == 0)
    and (budget - need[3] > -0.000001 or need[3] == 0)
    and (bounds[5] == 0 or room >= need[4] or need[4] == 0)
  local got = {0, 0, 0, 0}
  if enough then
    if bounds[1] > 0 then got[1] = taken(level, need[1], queued[1], ahead[1], true) end
    if bounds[2] > 0 then got[2] = taken(tokens, need[2], queued[2], ahead[2], false) end
    if budget < math.huge then got[3] = taken(budget, need[3], queued[3], ahead[3], false) end
    if bounds[5] > 0 then got[4] = taken(room, need[4], queued[4], ahead[4], true) end
  end
  level, tokens = level - got[1], tokens - got[2]
  day_tokens, month_tokens = day_tokens + got[3], month_tokens + got[3]
  redis.call('HSET', key, 'level', kept(level, bounds[1]), 'at', string.format('%.6f', now),
    'tokens', kept(tokens, bounds[2]), 'tokens_at', string.format('%.6f', now),
    'day', day, 'day_tokens', string.format('%.3f', day_tokens),
    'month', month, 'month_tokens', string.format('%.3f', month_tokens))
  redis.call('EXPIRE', key, 5356800)  -- 62 days
  local mine = back[4] + got[4]
  if bounds[5] > 0 and mine > 0 then
    redis.call('HSET', places_key, asked.member, mine)
    redis.call('EXPIRE', places_key, 86400)
  else redis.call('HDEL', places_key, asked.member) end
  given[i] = {enough = enough, amounts = got, level = level, token_level = tokens, day = day,
    day_tokens = day_tokens, month = month, month_tokens = month_tokens, in_flight = others + mine}
end
if #given == 0 then return '{"members":' .. members .. ',"accounts":[]}' end
return cjson.encode({members = members, accounts = given})
""")
