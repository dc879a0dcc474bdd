package runagent

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/internal/access"
	"github.com/keyward/keyward/internal/api"
	"github.com/keyward/keyward/internal/device"
	"github.com/keyward/keyward/internal/fault"
	"github.com/keyward/keyward/internal/seal"
)

// Answers about device logins are bare: SDKs look for no envelope around these.
func (s *surface) registerDevice() {
	api.Register(s.api, api.Operation{
		Method: http.MethodPost, Path: path("auth/device/initiate"), Name: "runAgentDeviceInitiate", Tag: tag, Security: api.Public, Loose: true,
		Summary: "Begin a device login",
		Description: "A program gets a key of an account whose owner approves it: it shows him user_code and verification_uri, he opens that page, types the code and approves, and the program polls meanwhile. " +
			"The answer has no envelope. At most 50 wait at once that come from one address.",
		Errors: []*fault.Fault{device.ErrTooMany, device.ErrFull},
	}, s.initiate)
	api.Register(s.api, api.Operation{
		Method: http.MethodGet, Path: path("auth/device/poll"), Name: "runAgentDevicePoll", Tag: tag, Security: api.Public, Loose: true,
		Summary: "Ask how a device login is, and get its key",
		Description: "The key is made at the first poll after it was approved, and told that once: a temporary key for 30 days. A poll whose session secret is not the login's is answered as one whose device code there is not: expired. " +
			"Ten seconds after the key was told a poll says that it has got lost: if it was never used, it is ended, and the answer is expired. So is one that is not used within a day. The answer has no envelope.",
		Errors: []*fault.Fault{device.ErrSlowDown, fault.ErrQuota},
	}, s.poll)
}

type initiateIn struct {
	UserAgent string `header:"User-Agent" doc:"What the program calls itself. Whoever approves it is shown that"`
	Body      deviceStart
}

// deviceStart is what a device login begins with.
type deviceStart struct {
	SessionSecret string   `json:"session_secret" minLength:"16" maxLength:"512" doc:"Random, made by the program for this login alone. Polls show it again"`
	Scopes        []string `json:"scopes,omitzero" minItems:"1" maxItems:"20" doc:"What the key is to have; left out: all scopes. Whoever approves it is shown that"`
}

// DeviceLogin is a device login that has begun.
type DeviceLogin struct {
	DeviceCode      string `json:"device_code" doc:"What the program polls with. It is a secret"`
	UserCode        string `json:"user_code" doc:"8 letters, which the program's user types in" example:"WDJBMJHT"`
	VerificationURI string `json:"verification_uri" doc:"The page where he does that"`
	ExpiresIn       int64  `json:"expires_in" doc:"Seconds for which the codes are good"`
	Interval        int64  `json:"interval" doc:"Seconds to wait between two polls"`
}

func (s *surface) initiate(ctx context.Context, who access.Caller, in *initiateIn) (DeviceLogin, error) {
	begun, err := s.Devices.Begin(ctx, who, device.Request{
		SessionSecret: seal.NewSecret(in.Body.SessionSecret), Program: in.UserAgent, Scopes: in.Body.Scopes,
	})
	if err != nil {
		return DeviceLogin{}, err
	}
	return DeviceLogin{
		DeviceCode: begun.DeviceCode.Reveal(), UserCode: begun.UserCode, VerificationURI: s.VerificationURI(),
		ExpiresIn: int64(begun.ExpiresIn / time.Second), Interval: int64(device.Interval / time.Second),
	}, nil
}

type pollIn struct {
	DeviceCode    string `query:"device_code" required:"true" maxLength:"128" doc:"Of the login"`
	SessionSecret string `header:"X-Session-Secret" required:"true" maxLength:"512" doc:"What the login began with"`
}

// DevicePoll is how a device login is.
type DevicePoll struct {
	Status string `json:"status" enum:"pending,completed,expired,access_denied"`
	APIKey string `json:"api_key,omitzero" doc:"Once, with completed"`
}

func (s *surface) poll(ctx context.Context, who access.Caller, in *pollIn) (DevicePoll, error) {
	polled, err := s.Devices.Poll(ctx, who, seal.NewSecret(in.DeviceCode), seal.NewSecret(in.SessionSecret))
	return DevicePoll{Status: string(polled.Status), APIKey: polled.Key.Reveal()}, err
}
