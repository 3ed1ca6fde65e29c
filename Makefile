# make start   run the whole thing on this machine
# make test    prove it
# make help    everything else

BEGUN := $(shell date +%s)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
COMMIT  := $(shell git rev-parse --quiet --verify HEAD 2>/dev/null || echo unknown)
BUILD   ?= 0
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.build=$(BUILD) -X main.commit=$(COMMIT)
RELEASE := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

AZURITE := infra/local/node_modules/.package-lock.json

.PHONY: help
help: ## what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' Makefile

.PHONY: start
start: stage $(AZURITE) local ## run everything on this machine (PORT=7071)
	@exec .build/start -since $(BEGUN)

.PHONY: token
token: local ## print a token of the local issuer (SCOPES="write:gdm_activation", PORT)
	@.build/start token -port $${PORT:-7071} "$(SCOPES)"

.PHONY: local
local:
	@go build -o .build/start ./infra/local/start

# The app for this machine's own system, as the local host runs it.
.PHONY: stage
stage:
	@$(RELEASE) -o .build/latchkey ./handler
	@go run ./infra/package -binary .build/latchkey -out dist

.PHONY: package
package: ## assemble dist/ and dist.zip for Azure (linux/amd64)
	GOOS=linux GOARCH=amd64 $(RELEASE) -o .build/linux-amd64/latchkey ./handler
	go run ./infra/package -binary .build/linux-amd64/latchkey -out dist -zip dist.zip

.PHONY: functions
functions: ## write functions/ from the route table
	@go run ./handler/cmd/functions functions

$(AZURITE): infra/local/package-lock.json
	npm ci --prefix infra/local --no-audit --no-fund
	@touch $@

# The race detector needs a C compiler: without one Go itself says 0. The black-box suite looks at another process's goroutines.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

.PHONY: test
test: stage $(AZURITE) ## vet, staticcheck and every test, against real engines
	go vet ./...
	go tool staticcheck ./...
	go test ./handler/e2e
	go test $(RACE) $$(go list ./... | grep -v /handler/e2e)
	go -C handler/compare vet ./...
	cd handler/compare && "$$(go -C ../.. tool -n staticcheck)" ./...
	go -C handler/compare test ./...

.PHONY: coverage-of-mission
coverage-of-mission: ## the rows of handler/doc/mission.md that no test is named after
	@said=$$(go test -count=1 -v -run '^TestCoverageOfMission$$' ./handler); status=$$?; \
		echo "$$said" | sed -n 's/^ *mission_test.go:[0-9]*: //p'; exit $$status

.PHONY: odds
odds: ## the chance that anyone guesses a code in a year, under the settings of this environment (ABU-2)
	@go run ./handler/cmd/latchkey odds

.PHONY: bench
bench: stage ## start-up time, memory, binary size, the costs of refusals, and our check of callers beside others
	go test -run '^$$' -bench . -benchtime 20x ./handler
	go test -run '^$$' -bench . ./handler/internal/...
	go -C handler/compare run .

# What make test does short, long. Set LATCHKEY_SEED to replay a failure.
.PHONY: soak
soak: stage $(AZURITE) ## the long proofs: 1,000 rounds of racers, 6,000 timed refreshes, 200 kills, 15,000 fault schedules, 10 minutes of histories
	LATCHKEY_SCHEDULES=15000 go test -count=1 -timeout 1h -run Schedule ./handler/internal/activation ./handler/internal/budget
	LATCHKEY_SOAK=10m go test -count=1 -timeout 2h ./handler/internal/history
	LATCHKEY_ROUNDS=1000 go test -count=1 -timeout 3h -run 'TestACT6_One|TestT03' ./handler/internal/store
	LATCHKEY_ROUNDS=1000 LATCHKEY_KILLS=200 LATCHKEY_JUNK=20000 LATCHKEY_SOAK=10m go test -count=1 -timeout 3h ./handler/e2e

FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	@grep -rl --include=*_test.go '^func Fuzz' handler infra | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")" || exit 1; \
		done; done
