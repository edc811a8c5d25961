#!/usr/bin/env perl
#
# Refuses an image that a botnet could log in to: a telnet server, a root
# account without a password, or an account with a well-known one.
#
# BR2_ROOTFS_POST_FAKEROOT_SCRIPT runs it on the finished tree:
#	refuse-open-image.pl TARGET_DIR [ignored...]
#
# Written for perl, which every Buildroot host has, and whose crypt() knows the
# schemes that the host's libcrypt knows. What it cannot judge it refuses.

use strict;
use warnings;
use File::Basename qw(dirname);
use File::Find ();

my $TELNETD = qr/^(?:in\.|u|dropbear-)?telnetd$/;

# Who starts programs: BusyBox init, System V, inetd, systemd.
my @STARTERS = qw(
	etc/inittab etc/inetd.conf etc/rc.local etc/rc.d etc/init.d etc/inet.d
	etc/xinetd.d etc/default etc/systemd/system usr/lib/systemd/system
);

my $target = shift @ARGV;
die "usage: $0 TARGET_DIR\n" unless defined $target && -d $target;

my @problems = (telnet_servers(), telnet_starters(), accounts());
exit 0 unless @problems;

print STDERR "lenscap: this image must not be shipped:\n";
print STDERR "lenscap:   $_\n" for @problems;
exit 1;

sub telnet_servers {
	my @found;
	File::Find::find({ no_chdir => 1, wanted => sub {
		my $path = $File::Find::name;
		my ($name) = $path =~ m{([^/]*)$};
		my $shown = shown($path);
		if ($name =~ $TELNETD && (-l $path || -f _)) {
			push @found, "$shown is a telnet server: leave it out";
		} elsif ($name =~ /^busybox/ && -f $path && !-l $path) {
			push @found, "$shown can be a telnet server: set CONFIG_TELNETD=n in BusyBox"
				if slurp($path) =~ /\0telnetd\0/;
		}
	} }, $target);
	return sort @found;
}

sub telnet_starters {
	my @files;
	for my $starter (map { "$target/$_" } @STARTERS) {
		next unless -e $starter;
		File::Find::find({ no_chdir => 1, wanted => sub {
			push @files, $File::Find::name if -f $File::Find::name;
		} }, $starter);
	}
	my @found;
	for my $file (sort @files) {
		my $number = 0;
		for my $line (split /\n/, slurp($file)) {
			$number++;
			next if $line =~ /^\s*[#;]/;
			push @found, shown($file) . " line $number starts a telnet server"
				if $line =~ /telnetd\b|\bTELNETD?=['"]?(?:yes|true|1)\b/i;
		}
	}
	return @found;
}

sub accounts {
	my %shadow = fields("$target/etc/shadow");
	my %passwd = fields("$target/etc/passwd");
	return "/etc/passwd is missing or empty, so there is nothing to judge" unless %passwd;
	my @known = known_passwords();
	my @found;
	for my $user (sort keys %passwd) {
		my $hash = $passwd{$user};
		if ($hash eq 'x') {
			# No line: the account is locked.
			next unless exists $shadow{$user};
			$hash = $shadow{$user};
		}
		push @found, judge($user, $hash, @known);
	}
	for my $user (sort keys %shadow) {
		push @found, judge($user, $shadow{$user}, @known) unless exists $passwd{$user};
	}
	return @found;
}

sub judge {
	my ($user, $hash, @known) = @_;
	return "$user has an empty password: set one of its own for each device, or lock the account"
		if $hash eq '';
	# Locked, for good or by `passwd -l`: `!` before a hash makes it match nothing.
	return () if $hash =~ /^[*!]/;
	return "the password of $user has a hash of an unknown kind"
		unless $hash =~ m{^\$[0-9a-zA-Z]+\$} || $hash =~ m{^[./0-9A-Za-z]{13}$};
	for my $password (@known, $user, '') {
		my $computed = crypt($password, $hash);
		return "the password of $user cannot be judged: this host's crypt() does not know its kind of hash"
			if !defined $computed || $computed =~ /^\*/ || length $computed != length $hash;
		next if $computed ne $hash;
		return "$user has an empty password, hashed" if $password eq '';
		return "$user has a well-known password ('$password'): botnets try it first";
	}
	return ();
}

# Name => second field of a file in the form of passwd.
sub fields {
	my ($file) = @_;
	return () unless -e $file;
	my %fields;
	for my $line (split /\n/, slurp($file)) {
		my ($name, $field) = split /:/, $line;
		$fields{$name} = $field // '' if defined $name && $name =~ /\S/;
	}
	return %fields;
}

sub known_passwords {
	my $file = dirname(__FILE__) . '/mirai-credentials.csv';
	my ($head, @lines) = split /\r?\n/, slurp($file);
	die "lenscap: $file: expected the columns user,password\n" unless $head =~ /^user,password\b/;
	my %seen;
	return grep { length && !$seen{$_}++ } map { (split /,/)[1] // '' } @lines;
}

sub shown {
	my ($path) = @_;
	return substr($path, length $target);
}

sub slurp {
	my ($file) = @_;
	open my $stream, '<:raw', $file or die "lenscap: $file: $!\n";
	local $/;
	my $text = <$stream>;
	return $text // '';
}
