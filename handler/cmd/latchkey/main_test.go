package main

import (
	"strings"
	"testing"

	"latchkey/handler/internal/settings"
)

// ask runs the command line under an environment.
func ask(environment map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, err strings.Builder
	lookup := settings.Environment(func(name string) (string, bool) { v, found := environment[name]; return v, found })
	code = run(process{lookup, &out, &err}, args)
	return code, out.String(), err.String()
}

func TestABU2_OddsPrintsWhatTheSettingsAreWorth(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		args        string
		code        int
		says        []string
	}{
		"the defaults": {nil, "odds", good, []string{
			"23^14 = 1.2e+19", "23^10 = 4.1e+13", "1.0e+10", "8.6e-07 (1 in 1159", "10 tries in 23^6 = 1.5e+08", "8.2e-08", "9.4e-07", "6.8e-08 (1 in 14803588)",
			"Good: this is not over 1.0e-06 (1 in 1000000)",
		}},
		"more guesses":  {map[string]string{"Abuse__UnknownPerYear": "10000000000"}, "odds", notGood, []string{"1.5e+10", "1.3e-06", "NOT GOOD"}},
		"more devices":  {nil, "odds -live-devices=1200", notGood, []string{"1.0e-06 (1 in 96", "NOT GOOD"}},
		"more patients": {nil, "odds -live-patients 8000", good, []string{"1.3e-07", "9.9e-07", "Good"}},
		"a short OTP":   {map[string]string{"OTP_LENGTH": "4"}, "odds", notGood, []string{"23^4 = 2.8e+05", "NOT GOOD"}},
		"fewer tries":   {map[string]string{"MAX_ACTIVATION_ATTEMPTS": "1", "OTP_LENGTH": "5"}, "odds", notGood, []string{"1 tries in 23^5", "NOT GOOD"}},
		"longer codes":  {map[string]string{"Codes__DeviceCodeLength": "15"}, "odds -live-devices 20000", good, []string{"23^15", "7.5e-07"}},
		"nobody":        {nil, "odds -live-devices 0 -live-patients 0", good, []string{"Good"}},
		"a vault": {map[string]string{"KeyVault__Endpoint": "https://v.vault.azure.net"}, "odds", good, []string{
			"was not read here",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := ask(c.environment, strings.Fields(c.args)...)
			if code != c.code || stderr != "" {
				t.Errorf("exit %d, want %d; %s", code, c.code, stderr)
			}
			for _, text := range c.says {
				if !strings.Contains(stdout, text) {
					t.Errorf("%q is missing in\n%s", text, stdout)
				}
			}
			if strings.Contains(stdout, "was not read here") != (c.environment["KeyVault__Endpoint"] != "") {
				t.Errorf("of the vault:\n%s", stdout)
			}
		})
	}
}

func TestABU2_WhatCannotBeAskedIsNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		args        []string
		says        string
	}{
		"nothing":          {nil, nil, "usage"},
		"another command":  {nil, []string{"odd"}, "usage"},
		"another flag":     {nil, []string{"odds", "-live-cats=1"}, "live-devices"},
		"a negative count": {nil, []string{"odds", "-live-devices=-1"}, "not negative"},
		"a short code":     {map[string]string{"SEND_ENTRY_ACTIVATION_CODE_LENGTH": "9"}, []string{"odds"}, "out of range"},
		"something behind": {nil, []string{"odds", "now"}, "nothing follows"},
		"a wrong setting":  {map[string]string{"Abuse__UnknownPerYear": "1e9"}, []string{"odds"}, "Abuse:UnknownPerYear is not a whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := ask(c.environment, c.args...)
			if code != notAsked || stdout != "" || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d, %q, %q", code, stdout, stderr)
			}
		})
	}
	if code, _, stderr := ask(nil, "odds", "-h"); code != good || !strings.Contains(stderr, "live-patients") {
		t.Errorf("help: exit %d, %s", code, stderr)
	}
}
