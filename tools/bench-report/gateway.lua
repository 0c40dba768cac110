-- Load for the gateway: a request for every route of its table, in an order that repeats, and at the
-- end what came of it in lines for a program.
--
--   wrk --script gateway.lua http://127.0.0.1:PORT -- examples/gateway/default.routes

local requests, at = {}, 0

function init(arguments)
    for line in io.lines(arguments[1]) do
        local host, prefix = line:match("^([^#%s]%S*)%s+(/%S*)")
        if host then
            if host == "*" then host = "not-listed.example" end
            if host:sub(1, 1) == "." then host = "any" .. host end
            local path = prefix == "/" and "/42?page=2" or prefix .. "/42?page=2"
            requests[#requests + 1] = wrk.format("GET", path, { ["Host"] = host })
        end
    end
    assert(#requests > 100, "a table of routes")
    -- Neighbours in the file are not asked for one after the other.
    math.randomseed(1)
    for i = #requests, 2, -1 do
        local j = math.random(i)
        requests[i], requests[j] = requests[j], requests[i]
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    local all = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local function line(name, value)
        io.write(string.format("counted: %s %.3f\n", name, value))
    end
    line("requests", summary.requests)
    line("duration", summary.duration)
    line("errors", all)
    for _, quantile in ipairs({ 50, 99, 99.9 }) do
        line("p" .. quantile, latency:percentile(quantile))
    end
end
