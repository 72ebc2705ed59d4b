# Makefile: builds both halves, their tests and the tree that is installed.
#
#   make module processor       release builds
#   make module-asan processor-asan   the same under ASan and UBSan
#   make unit unit-asan fuzz    C tests
#   make install DESTDIR=... PREFIX=/usr
#   make faults faults-prove    rounds of faults, and proof that they tell
#
# Everything is made under build/.  NGINX_SRC is what nginx-dev installs: the
# configured sources of the distribution's nginx, so that the module's binary
# signature is the one of the packaged server.

PREFIX      ?= /usr/local
SYSCONFDIR  ?= /etc
NGINX_SRC   ?= /usr/share/nginx/src
MODULES_DIR ?= /usr/lib/nginx/modules
FUZZ_SECONDS ?= 60
BUILD       ?= build

WARN   := -Wall -Wextra -Werror
SAN    := -fsanitize=address,undefined -fno-omit-frame-pointer \
          -fno-sanitize-recover=undefined
OPT    ?= -O2 -g
STD    := -std=c11 -D_GNU_SOURCE
HARDEN ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2

.PHONY: all module module-asan processor processor-asan unit unit-asan \
        fuzz lint bench soak-ingest bench-ingest bench-processor faults \
        faults-prove install clean

all: module processor


# ---- the nginx module ----------------------------------------------------

MODULE_SRCS := config sluice_wire.h $(wildcard ngx_module/*.c ngx_module/*.h)

# $(1) directory, $(2) and $(3) compiler's and linker's options, $(4) add-on.
# nginx's configure writes beside its sources, hence the copy.
# A nginx that runs has the file mapped: the new one gets a place of its own.
define build_module
	rm -rf $(1)/src && mkdir -p $(1)
	cp -a $(NGINX_SRC)/. $(1)/src
	cd $(1)/src && bash -c '. ./conf_flags && ./configure \
	    "$${NGX_CONF_FLAGS[@]}" --with-cc="$(CC)" \
	    --with-cc-opt="$(2)" --with-ld-opt="$(3)" \
	    --add-dynamic-module="$(4)"' > ../configure.log
	$(MAKE) -s -C $(1)/src -f objs/Makefile modules
	cp --remove-destination $(1)/src/objs/ngx_http_*_module.so $(1)/
endef

module: $(BUILD)/module/ngx_http_sluice_module.so
module-asan: $(BUILD)/module-asan/ngx_http_sluice_module.so

NGX_WARN := -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
            -Wno-sign-compare

$(BUILD)/module/ngx_http_sluice_module.so: $(MODULE_SRCS)
	$(call build_module,$(BUILD)/module,$(OPT) $(HARDEN) -fPIC $(NGX_WARN),-Wl$(comma)-z$(comma)relro,$(CURDIR))

$(BUILD)/module-asan/ngx_http_sluice_module.so: $(MODULE_SRCS)
	$(call build_module,$(BUILD)/module-asan,-O1 -g -fPIC $(NGX_WARN) $(SAN),$(SAN),$(CURDIR))

comma := ,


# ---- the processor -------------------------------------------------------

PROC_PKGS := rdkafka hiredis libpq libcrypto inih libsystemd jansson \
             libmicrohttpd
# TLS to Redis where hiredis has it, which is from 1.0 on; else `tls = on` is
# refused with the reason.
ifeq ($(shell pkg-config --exists hiredis_ssl libssl && echo yes),yes)
PROC_PKGS += hiredis_ssl libssl
PROC_TLS  := -DSLUICE_REDIS_TLS
endif
PROC_SRCS := $(wildcard processor/*.c processor/*/*.c)
PROC_HDRS := sluice_wire.h $(wildcard processor/*.h processor/*/*.h)
PROC_LUA  := $(wildcard processor/lane/*.lua)
PROC_CFLAGS = $(STD) $(WARN) $(PROC_TLS) $(PROC_BREAK) -I. -Iprocessor \
              -I$(BUILD)/gen \
              $(shell pkg-config --cflags $(PROC_PKGS)) -pthread
PROC_LIBS  = $(shell pkg-config --libs $(PROC_PKGS)) -pthread

# A processor with one rule taken out, for tests/faults/prove and for nothing
# else: its own tree under BUILD, what processor/lane/breaks.h says, and for
# no-fence the scripts without the lines that refuse another's belief.
BREAKS := put-after-apply increment no-fence
ifdef BREAK
ifeq ($(filter $(BREAK),$(BREAKS)),)
$(error BREAK is one of: $(BREAKS))
endif
ifneq ($(filter install%,$(MAKECMDGOALS)),)
$(error a broken processor is not installed)
endif
override BUILD := $(BUILD)/broken/$(BREAK)
PROC_BREAK := -DSLUICE_BREAK_$(shell echo $(BREAK) | tr a-z- A-Z_)
endif
ifeq ($(BREAK),no-fence)
LUA_BREAK := -e '/^if .*ARGV\[1\] or .* then$$/s/.*/if false then/' \
             -e 's/^local first = .*/local first = 0/'
endif

# The scripts are compiled in: a processor can't be run beside other scripts
# than those it was tested with.  lane/apply.lua becomes script_apply[].
$(BUILD)/gen/lane_scripts.h: $(PROC_LUA)
	mkdir -p $(@D)
	for f in $(PROC_LUA); do \
	    printf 'static const char script_%s[] =\n' $$(basename $$f .lua); \
	    sed $(LUA_BREAK) \
	        -e 's/[\\"]/\\&/g' -e 's/^/    "/' -e 's/$$/\\n"/' $$f; \
	    echo '    ;'; echo; \
	done > $@
	$(if $(LUA_BREAK),test $$(grep -c 'if false then' $@) -ge 7)

# $(1) directory of the objects, $(2) flags
define processor_rules
$(1)/%.o: processor/%.c $(PROC_HDRS) $(BUILD)/gen/lane_scripts.h
	mkdir -p $$(@D)
	$$(CC) $$(PROC_CFLAGS) $(2) -c -o $$@ $$<

$(1)/sluice-processor: $(PROC_SRCS:processor/%.c=$(1)/%.o)
	$$(CC) $(2) -o $$@ $$^ $$(PROC_LIBS)
endef

$(eval $(call processor_rules,$(BUILD)/processor,$(OPT) $(HARDEN)))
$(eval $(call processor_rules,$(BUILD)/processor-asan,-O1 -g $(SAN)))

processor: $(BUILD)/processor/sluice-processor
processor-asan: $(BUILD)/processor-asan/sluice-processor


# ---- unit tests and fuzzers ----------------------------------------------
#
# tests/unit/test_*.c: one program each, linked with everything that is pure:
# the module's plain C and the processor's base/ and core/; and with the other
# files there, which several tests share.  A test that needs a socket is an
# integration test and lives elsewhere.

UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_HELP := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
PURE_SRCS := $(wildcard ngx_module/multipart*.c) ngx_module/sniff.c \
             ngx_module/header_text.c ngx_module/idempotency_key.c \
             ngx_module/rfc3339.c ngx_module/kafka_stats.c \
             ngx_module/event_split.c ngx_module/slab.c \
             ngx_module/base64url.c $(wildcard ngx_module/jw*.c) \
             $(wildcard processor/base/*.c processor/core/*.c) \
             $(wildcard processor/store/*.c)
UNIT_FLAGS = $(STD) $(WARN) -I. -Ingx_module -Iprocessor \
             $(shell pkg-config --cflags cmocka jansson libcrypto inih)
UNIT_LIBS  = $(shell pkg-config --libs cmocka jansson libcrypto inih) -pthread

# $(1) directory, $(2) flags
define unit_rules
$(1)/pure.a: $(PURE_SRCS) $(UNIT_HELP) $(PROC_HDRS) \
             $(wildcard ngx_module/*.h tests/unit/*.h)
	rm -rf $(1)/pure $(1)/pure.a && mkdir -p $(1)/pure
	for f in $(PURE_SRCS) $(UNIT_HELP); do \
	    $$(CC) $$(UNIT_FLAGS) $(2) -c \
	        -o $(1)/pure/$$$$(echo $$$$f | tr / _).o $$$$f || exit 1; \
	done
	ar rcs $$@ $(1)/pure/*.o

$(1)/test_%: tests/unit/test_%.c $(1)/pure.a
	$$(CC) $$(UNIT_FLAGS) $(2) -o $$@ $$< $(1)/pure.a $$(UNIT_LIBS)
endef

$(eval $(call unit_rules,$(BUILD)/unit,-O1 -g))
$(eval $(call unit_rules,$(BUILD)/unit-asan,-O1 -g $(SAN)))

# This one counts the parser's steps by a hook in each basic block.
$(BUILD)/unit/test_multipart_steps $(BUILD)/unit-asan/test_multipart_steps: \
    private UNIT_FLAGS += -fsanitize-coverage=trace-pc

unit: $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit/%)
	set -e; for t in $^; do $$t; done

unit-asan: $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/unit-asan/%)
	set -e; for t in $^; do $$t; done

# The parser as a filter, for the comparison with others.
$(BUILD)/parser/multipart_driver: tests/parser/multipart_driver.c \
                                  $(wildcard ngx_module/multipart*.[ch])
	mkdir -p $(@D)
	$(CC) $(STD) $(WARN) -O1 -g $(SAN) -Ingx_module -o $@ $< \
	    $(wildcard ngx_module/multipart*.c)

FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(wildcard tests/fuzz/*.h) \
                     $(wildcard ngx_module/*.[ch])
	mkdir -p $(@D)
	clang $(STD) $(WARN) -O1 -g -I. -Ingx_module \
	    -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=undefined -o $@ $< \
	    $(wildcard ngx_module/multipart*.c) ngx_module/sniff.c \
	    ngx_module/header_text.c ngx_module/event_split.c \
	    ngx_module/base64url.c $(wildcard ngx_module/jw*.c) \
	    $(shell pkg-config --cflags --libs jansson libcrypto)

# What the fuzzer finds new goes to build/, the corpus in the tree is read.
fuzz: $(FUZZ_SRCS:tests/fuzz/%.c=$(BUILD)/fuzz/%)
	set -e; for f in $^; do n=$$(basename $$f); k=$${n#fuzz_}; \
	    mkdir -p $(BUILD)/fuzz/new-$$k; \
	    dict=; [ -e tests/fuzz/$$k.dict ] && dict=-dict=tests/fuzz/$$k.dict; \
	    $$f -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 \
	        -print_final_stats=1 $$dict \
	        -artifact_prefix=$(BUILD)/fuzz/ \
	        $(BUILD)/fuzz/new-$$k tests/fuzz/corpus/$$k; \
	done

lint:
	set -e; for f in tests/lint/*.py; do /usr/bin/python3 $$f; done

# The bench's floor: nginx that drops what it reads, the libraries alone.
$(BUILD)/bench/ngx_http_discard_module.so: $(wildcard tests/bench/discard/*)
	$(call build_module,$(BUILD)/bench,$(OPT) $(HARDEN) -fPIC $(NGX_WARN),-Wl$(comma)-z$(comma)relro,$(CURDIR)/tests/bench/discard)

$(BUILD)/bench/floor: tests/bench/floor.c
	mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(OPT) -o $@ $< $(shell pkg-config --libs rdkafka libcrypto)

bench: module processor $(BUILD)/bench/ngx_http_discard_module.so \
       $(BUILD)/bench/floor
	tests/bench/run

$(BUILD)/bench/rows: tests/bench/rows.c
	mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(OPT) -o $@ $< $(shell pkg-config --cflags --libs \
	    libpq)

$(BUILD)/bench/parser_bench: tests/bench/parser_bench.c \
                             $(wildcard ngx_module/multipart*.[ch])
	mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(OPT) -Ingx_module -o $@ $< \
	    $(wildcard ngx_module/multipart*.c)

$(BUILD)/bench/link: tests/bench/link.c
	mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(OPT) -o $@ $<

# The module beside its floor and beside other servers; INGEST="--secs 10"
# and the like go to it.
bench-ingest: module $(BUILD)/bench/ngx_http_discard_module.so \
              $(BUILD)/bench/floor $(BUILD)/bench/link \
              $(BUILD)/bench/parser_bench
	tests/bench/peers/build $(BUILD)/bench/peers
	BUILD=$(BUILD) \
	    SLUICE_MODULE=$(abspath $(BUILD))/module/ngx_http_sluice_module.so \
	    tests/bench/ingest $(INGEST)

# The processor beside its floor, Bento and Flink; see docs/performance.md.
bench-processor: module processor $(BUILD)/bench/floor
	tests/bench/peers/build $(BUILD)/bench/peers bento-d1 flink
	BUILD=$(abspath $(BUILD)) \
	SLUICE_PROCESSOR=$(abspath $(BUILD))/processor/sluice-processor \
	SLUICE_MODULE=$(abspath $(BUILD))/module/ngx_http_sluice_module.so \
	    tests/bench/catchup $(CATCHUP)

# A million uploads into three brokers under kills and reloads, and the truth
# check: make soak-ingest SOAK="--files 20000 --seed 1".
soak-ingest: module
	SLUICE_MODULE=$(abspath $(BUILD))/module/ngx_http_sluice_module.so \
	    tests/soak/run $(SOAK)

# Rounds of uploads while the services are killed, frozen, cut off and filled
# up, and the truth after each: make faults FAULTS="--rounds 30 --seed 1".
faults: module processor
	SLUICE_MODULE=$(abspath $(BUILD))/module/ngx_http_sluice_module.so \
	    SLUICE_PROCESSOR=$(abspath $(BUILD))/processor/sluice-processor \
	    tests/faults/run $(FAULTS)

# Each broken processor is right without faults, and found out with them.
faults-prove: module
	set -e; for b in $(BREAKS); do \
	    $(MAKE) BREAK=$$b processor; done
	BUILD=$(abspath $(BUILD)) \
	    SLUICE_MODULE=$(abspath $(BUILD))/module/ngx_http_sluice_module.so \
	    tests/faults/prove $(FAULTS)


# ---- install -------------------------------------------------------------
#
# INSTALL="install -C -v" leaves alone what is already there and names what it
# did, which is how the playbook knows whether something changed.  Samples
# and the unit speak of /usr/local and /usr; they are installed with PREFIX.

INSTALL       ?= install
DATADIR        = $(PREFIX)/share/sluice
UNITDIR       ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR   ?= $(PREFIX)/lib/sysusers.d
STAGE          = $(BUILD)/install
CONF_FILES     = conf/processor.ini conf/topics.conf conf/redis-sluice.acl \
                 conf/redis-sluice.conf

.PHONY: install-module install-processor install-data

install: install-module install-processor install-data

install-module: module
	$(INSTALL) -d $(DESTDIR)$(MODULES_DIR)
	$(INSTALL) -m 644 $(BUILD)/module/ngx_http_sluice_module.so \
	    $(DESTDIR)$(MODULES_DIR)/

install-processor: processor
	mkdir -p $(STAGE)
	for unit in sluice-processor.service sluice-purge.service; do \
	    sed -e 's,/usr/bin/sluice,$(PREFIX)/bin/sluice,' \
	        -e 's,/etc/sluice,$(SYSCONFDIR)/sluice,' \
	        -e 's,/usr/share/sluice,$(DATADIR),' \
	        packaging/systemd/$$unit > $(STAGE)/$$unit || exit 1; \
	done
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(UNITDIR) \
	    $(DESTDIR)$(SYSUSERSDIR)
	$(INSTALL) -m 755 $(BUILD)/processor/sluice-processor \
	    $(DESTDIR)$(PREFIX)/bin/
	$(INSTALL) -m 644 $(STAGE)/sluice-processor.service \
	    $(STAGE)/sluice-purge.service packaging/systemd/sluice-purge.timer \
	    $(DESTDIR)$(UNITDIR)/
	$(INSTALL) -m 644 packaging/systemd/sluice.sysusers \
	    $(DESTDIR)$(SYSUSERSDIR)/sluice.conf

install-data:
	mkdir -p $(STAGE)
	sed 's,/usr/local/share/sluice,$(DATADIR),' conf/sluice.conf \
	    > $(STAGE)/sluice.conf
	$(INSTALL) -d $(DESTDIR)$(DATADIR)/conf/nginx \
	    $(DESTDIR)$(DATADIR)/conf/prometheus \
	    $(DESTDIR)$(DATADIR)/sql $(DESTDIR)$(DATADIR)/html
	$(INSTALL) -m 644 sql/*.sql $(DESTDIR)$(DATADIR)/sql/
	$(INSTALL) -m 755 sql/migrate $(DESTDIR)$(DATADIR)/sql/
	$(INSTALL) -m 644 $(STAGE)/sluice.conf $(CONF_FILES) \
	    $(DESTDIR)$(DATADIR)/conf/
	$(INSTALL) -m 644 conf/nginx/*.conf $(DESTDIR)$(DATADIR)/conf/nginx/
	$(INSTALL) -m 644 conf/prometheus/*.yml \
	    $(DESTDIR)$(DATADIR)/conf/prometheus/
	$(INSTALL) -m 644 conf/html/* $(DESTDIR)$(DATADIR)/html/

clean:
	rm -rf $(BUILD)
