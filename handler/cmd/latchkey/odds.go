package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"text/tabwriter"

	"latchkey/handler/internal/codes"
	"latchkey/handler/internal/odds"
	"latchkey/handler/internal/settings"
)

// oddsKeys are the settings that the odds rest on.
func oddsKeys() []string {
	return []string{"Codes:OTPLength", "Codes:DeviceCodeLength", "Codes:MaxAttempts", "Abuse:UnknownCapacity", "Abuse:UnknownPerYear"}
}

// oddsCommand prints what guessing is worth under the settings in force. It is not good when that is over one in a million a year.
func oddsCommand(p process, args []string) int {
	flags := flag.NewFlagSet("latchkey odds", flag.ContinueOnError)
	flags.SetOutput(p.stderr)
	devices := flags.Int64("live-devices", 1000, "device `codes` that wait to be redeemed at any time, at most (model.md section 7)")
	patients := flags.Int64("live-patients", 5000, "patients' `codes` that wait to be redeemed at any time, at most")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return good
	case err != nil:
		return notAsked
	case flags.NArg() > 0 || *devices < 0 || *patients < 0:
		fmt.Fprintln(p.stderr, "latchkey odds: counts are not negative, and nothing follows the flags")
		return notAsked
	}
	s, problems := settings.LoadOnly(settings.Checks{}, oddsKeys(), p.environment)
	if problems != nil {
		for _, problem := range problems {
			fmt.Fprintln(p.stderr, problem)
		}
		return notAsked
	}

	guesses := s.Abuse.UnknownCapacity + s.Abuse.UnknownPerYear
	device := odds.Kind{
		Name: "device", Alphabet: len(codes.Alphabet), Length: s.Codes.DeviceCodeLength, Live: float64(*devices), Guesses: float64(guesses),
	}
	patient := odds.Kind{
		Name: "patient", Alphabet: len(codes.Alphabet), Length: codes.LocatorLength, Live: float64(*patients), Guesses: float64(guesses),
		OTP: s.Codes.OTPLength, Attempts: s.Codes.MaxAttempts,
	}
	any := odds.Any(device, patient)

	fmt.Fprintln(p.stdout, "The chance that anyone guesses any live code in a year, at most:")
	fmt.Fprintln(p.stdout)
	table := tabwriter.NewWriter(p.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "code of\tspace\tunknown codes tried a year\tlive codes\tthen the OTP\tchance in a year")
	for _, k := range []odds.Kind{device, patient} {
		then := "none"
		if k.OTP > 0 {
			then = fmt.Sprintf("%d tries in %d^%d = %.1e", k.Attempts, k.Alphabet, k.OTP, k.OTPs())
		}
		fmt.Fprintf(table, "a %s\t%d^%d = %.1e\t%.1e\t%.0f\t%s\t%s\n", k.Name, k.Alphabet, k.Length, k.Space(), k.Guesses, k.Live, then, chance(k.Yearly()))
	}
	fmt.Fprintf(table, "any\t\t\t\t\t%s\n", chance(any))
	_ = table.Flush() // a closed pipe has nobody to tell
	fmt.Fprintf(p.stdout, "\nWho already holds a patient's code without its OTP: %s, once.\n", chance(patient.Holding()))
	fmt.Fprintf(p.stdout, "From the environment: Abuse:UnknownCapacity %d, Abuse:UnknownPerYear %d, Codes:OTPLength %d, Codes:DeviceCodeLength %d, Codes:MaxAttempts %d.\n",
		s.Abuse.UnknownCapacity, s.Abuse.UnknownPerYear, s.Codes.OTPLength, s.Codes.DeviceCodeLength, s.Codes.MaxAttempts)
	if vault, given := p.environment("KeyVault:Endpoint"); given && vault != "" {
		fmt.Fprintln(p.stdout, "A vault is set. What it holds for these keys wins over the environment, and was not read here.")
	}
	if any > odds.Threshold {
		fmt.Fprintf(p.stdout, "NOT GOOD: this is over %s.\n", chance(odds.Threshold))
		return notGood
	}
	fmt.Fprintf(p.stdout, "Good: this is not over %s.\n", chance(odds.Threshold))
	return good
}

// chance writes a probability for people: as a number, and as one in so many.
func chance(p float64) string {
	if p == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1e (1 in %.0f)", p, math.Floor(1/p+1e-6))
}
