package client

// Usage is how much some API keys were used in a period.
type Usage struct {
	Period UsagePeriod `json:"period"`
	Keys   []KeyUsage  `json:"keys"`
}

// UsageList is one page of the Usage of many keys.
type UsageList struct {
	Usage
	Pagination Pagination `json:"pagination"`
}

// UsagePeriod is the time that a Usage is about: whole minutes, hours or days in
// UTC.
type UsagePeriod struct {
	From     Time   `json:"from" doc:"The beginning of the first point"`
	To       Time   `json:"to" doc:"The end of the last point. What lies in the future is 0"`
	Interval string `json:"interval" enum:"minute,hour,day"`
}

// KeyUsage is how much one API key was used. Where the key has no limit, the
// fields of its limit are left out.
type KeyUsage struct {
	ID          int64  `json:"id"`
	Name        string `json:"name" example:"production-2024"`
	Requests    int64  `json:"requests" doc:"All requests of the period"`
	Allowed     int64  `json:"allowed"`
	Denied      int64  `json:"denied" doc:"Refused, but for a limit: by a scope, an agent, an address, a signature, or the key's status"`
	RateLimited int64  `json:"rate_limited" doc:"Refused by a limit"`

	Limit       *int64   `json:"limit,omitzero" nullable:"false" doc:"Requests in an hour, or in a month where there is no limit an hour"`
	Remaining   *int64   `json:"remaining,omitzero" nullable:"false" doc:"What is left of the limit now"`
	Reset       Time     `json:"reset,omitzero" doc:"When all of the limit is there again; left out: it is there now"`
	PercentUsed *float64 `json:"percent_used,omitzero" nullable:"false" doc:"How much of the limit is used now" example:"12.5"`

	LastUsedAt Time         `json:"last_used_at,omitzero" doc:"When a request was last allowed, in the period or not; left out: never"`
	Series     []UsagePoint `json:"series" doc:"Every minute, hour or day of the period, in order, those without requests too"`
}

// UsagePoint is what was counted in one minute, hour or day.
type UsagePoint struct {
	Time        Time  `json:"time" doc:"When it begins"`
	Allowed     int64 `json:"allowed"`
	Denied      int64 `json:"denied"`
	RateLimited int64 `json:"rate_limited"`
}
