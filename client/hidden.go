package client

import (
	"fmt"
	"log/slog"
)

// What holds a secret is printed without it, whatever the verb, and logged so. As
// JSON it has it: that is how it is stored or sent on.

const hiddenText = "[hidden]"

// hide replaces secrets that are there.
func hide(secrets ...*string) {
	for _, s := range secrets {
		if *s != "" {
			*s = hiddenText
		}
	}
}

func (k IssuedKey) hidden() string {
	type plain IssuedKey
	hide(&k.Secret, &k.SigningSecret)
	return fmt.Sprintf("%+v", plain(k))
}

// Format prints k without the key.
func (k IssuedKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.hidden()) }

// LogValue is k without the key.
func (k IssuedKey) LogValue() slog.Value { return slog.StringValue(k.hidden()) }

func (k ChangedKey) hidden() string {
	type plain ChangedKey
	hide(&k.SigningSecret)
	return fmt.Sprintf("%+v", plain(k))
}

// Format prints k without the signing secret.
func (k ChangedKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.hidden()) }

// LogValue is k without the signing secret.
func (k ChangedKey) LogValue() slog.Value { return slog.StringValue(k.hidden()) }

func (v VerifyKey) hidden() string {
	type plain VerifyKey
	hide(&v.Key)
	return fmt.Sprintf("%+v", plain(v))
}

// Format prints v without the key.
func (v VerifyKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, v.hidden()) }

// LogValue is v without the key.
func (v VerifyKey) LogValue() slog.Value { return slog.StringValue(v.hidden()) }

func (a CreatedAgent) hidden() string {
	type plain CreatedAgent
	hide(&a.RunnerSecret)
	return fmt.Sprintf("%+v", plain(a))
}

// Format prints a without the runner's secret.
func (a CreatedAgent) Format(f fmt.State, _ rune) { fmt.Fprint(f, a.hidden()) }

// LogValue is a without the runner's secret.
func (a CreatedAgent) LogValue() slog.Value { return slog.StringValue(a.hidden()) }

func (r RunnerSecret) hidden() string { return "{RunnerSecret:" + hiddenText + "}" }

// Format prints no secret.
func (r RunnerSecret) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.hidden()) }

// LogValue is no secret.
func (r RunnerSecret) LogValue() slog.Value { return slog.StringValue(r.hidden()) }

func (a AlertSet) hidden() string {
	type plain AlertSet
	hide(&a.WebhookSecret)
	return fmt.Sprintf("%+v", plain(a))
}

// Format prints a without the webhook's secret.
func (a AlertSet) Format(f fmt.State, _ rune) { fmt.Fprint(f, a.hidden()) }

// LogValue is a without the webhook's secret.
func (a AlertSet) LogValue() slog.Value { return slog.StringValue(a.hidden()) }

func (t AuthToken) hidden() string { return "{AuthToken:" + hiddenText + "}" }

// Format prints no token.
func (t AuthToken) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.hidden()) }

// LogValue is no token.
func (t AuthToken) LogValue() slog.Value { return slog.StringValue(t.hidden()) }

func (r RotateToken) hidden() string {
	type plain RotateToken
	hide(&r.AuthToken)
	return fmt.Sprintf("%+v", plain(r))
}

// Format prints r without the token.
func (r RotateToken) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.hidden()) }

// LogValue is r without the token.
func (r RotateToken) LogValue() slog.Value { return slog.StringValue(r.hidden()) }

// names hides values, and keeps what they are called.
func names(values map[string]any) map[string]any {
	all := make(map[string]any, len(values))
	for name := range values {
		all[name] = hiddenText
	}
	return all
}

func (p CreateAuthProfile) hidden() string {
	type plain CreateAuthProfile
	p.AuthData = names(p.AuthData)
	return fmt.Sprintf("%+v", plain(p))
}

// Format prints p without its values.
func (p CreateAuthProfile) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.hidden()) }

// LogValue is p without its values.
func (p CreateAuthProfile) LogValue() slog.Value { return slog.StringValue(p.hidden()) }

func (p UpsertAuthProfile) hidden() string {
	type plain UpsertAuthProfile
	p.AuthData = names(p.AuthData)
	hide(&p.AuthToken)
	return fmt.Sprintf("%+v", plain(p))
}

// Format prints p without its values and its token.
func (p UpsertAuthProfile) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.hidden()) }

// LogValue is p without its values and its token.
func (p UpsertAuthProfile) LogValue() slog.Value { return slog.StringValue(p.hidden()) }

func (p UpsertedAuthProfile) hidden() string {
	type plain UpsertedAuthProfile
	hide(&p.AuthToken)
	return fmt.Sprintf("%+v", plain(p))
}

// Format prints p without the token.
func (p UpsertedAuthProfile) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.hidden()) }

// LogValue is p without the token.
func (p UpsertedAuthProfile) LogValue() slog.Value { return slog.StringValue(p.hidden()) }

func (a CreateAccount) hidden() string {
	type plain CreateAccount
	hide(&a.Password)
	return fmt.Sprintf("%+v", plain(a))
}

// Format prints a without the password.
func (a CreateAccount) Format(f fmt.State, _ rune) { fmt.Fprint(f, a.hidden()) }

// LogValue is a without the password.
func (a CreateAccount) LogValue() slog.Value { return slog.StringValue(a.hidden()) }

func (r Registration) hidden() string {
	type plain Registration
	hide(&r.Password, &r.SetupCode)
	return fmt.Sprintf("%+v", plain(r))
}

// Format prints r without the password and the setup code.
func (r Registration) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.hidden()) }

// LogValue is r without the password and the setup code.
func (r Registration) LogValue() slog.Value { return slog.StringValue(r.hidden()) }

func (t Tokens) hidden() string {
	type plain Tokens
	hide(&t.AccessToken, &t.RefreshToken)
	return fmt.Sprintf("%+v", plain(t))
}

// Format prints t without the tokens.
func (t Tokens) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.hidden()) }

// LogValue is t without the tokens.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.hidden()) }

func (in RunInput) hidden() string {
	type plain RunInput
	in.Parameters = names(in.Parameters)
	hide(&in.AuthToken)
	return fmt.Sprintf("%+v", plain(in))
}

// Format prints in without its values and its token.
func (in RunInput) Format(f fmt.State, _ rune) { fmt.Fprint(f, in.hidden()) }

// LogValue is in without its values and its token.
func (in RunInput) LogValue() slog.Value { return slog.StringValue(in.hidden()) }

func (g Guard) hidden() string { return "{Server:" + g.Server + " APIKey:" + hiddenText + "}" }

// Format prints g without the service's own key.
func (g Guard) Format(f fmt.State, _ rune) { fmt.Fprint(f, g.hidden()) }

// LogValue is g without the service's own key.
func (g Guard) LogValue() slog.Value { return slog.StringValue(g.hidden()) }
