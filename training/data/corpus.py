"""Sentences to speak: everyday conversation, written for this project."""

_TRAIN = """
Hello there, how are you today?
Good morning, did you sleep well?
I was just thinking about you.
It is lovely to meet you at last.
What would you like to talk about?
Thank you very much, that means a lot to me.
Yes, of course, I would love to help you with that.
Could you tell me a little more about it?
I am not sure what you mean.
Would you mind saying that once again?
Let me think about it for a moment.
That is a very good question.
Oh wow, that is amazing news!
I did not expect that at all.
You have a point there.
Maybe we should begin at the beginning.
Give me one second, please.
Where were we before the phone rang?
I completely agree with you.
To be honest, I have never tried it.
What a beautiful morning, the birds are singing.
The weather has been strange this week.
We should probably leave before it starts raining.
It might snow in the mountains tonight.
The fog lifted just before noon.
I love the smell of the earth after a storm.
The wind pushed the boats back to the harbor.
Bring a warm coat, because the evenings are cold.
Summer feels shorter every year.
There is frost on the kitchen window.
My brother bought five purple umbrellas.
She sells sea shells by the sea shore.
Peter Piper picked a peck of pickled peppers.
The quick brown fox jumps over the lazy dog.
How now, brown cow?
Who knew you would choose blue shoes?
We all saw four more walrus on the shore.
Five brave firemen fought the fierce fire.
Vera very rarely gives her violin away.
Mum made a mountain of marmalade muffins.
Bob bumped the big blue bus by the bridge.
Thirty three thieves thought through the plan.
Shiny ships sailed through shallow seas.
Charlie chose cheap cherry chewing gum.
George judged the giant orange pages.
You usually measure treasure with pleasure.
Which witch wished for which wish?
Red roses rarely grow near rough rivers.
Long lonely lanes lead to the lighthouse.
Please keep your paper cups in the cupboard.
I usually have toast and coffee for breakfast.
Would you like milk or lemon in your tea?
The soup needs a pinch of salt and some pepper.
She baked bread for the whole village.
We ate pancakes with honey and blueberries.
My favorite meal is anything with fresh tomatoes.
Do not forget to buy eggs on the way home.
The oven takes ten minutes to warm up.
Grandpa makes the best apple pie in town.
There is half a pizza left in the fridge.
These mushrooms smell wonderful with butter.
I cannot eat that much sugar before bed.
They opened a small noodle shop on our street.
Put the plates over there, next to the spoons.
The cheese was far too strong for me.
He drinks five cups of coffee every day.
You can taste the garlic and the thyme.
A cold glass of water would be perfect.
We picked strawberries until our fingers turned red.
The recipe calls for a cup of brown rice.
The train to the city leaves at quarter past eight.
How far is it to the nearest station?
Turn left at the church and walk for five minutes.
We missed the last bus and walked home.
Our plane was delayed by almost three hours.
I have always wanted to see the northern lights.
They rented a tiny house near the beach.
Did you remember to pack your passport?
The road follows the river for many miles.
We took the ferry over to the island.
My suitcase is heavier than it looks.
The hotel room had a view of the whole bay.
She traveled through Europe with only a backpack.
Parking downtown is nearly impossible on Fridays.
You can see the bridge from up here.
The map was wrong, but we found it anyway.
I like to sit by the window on long journeys.
He rides his bicycle to work, rain or shine.
There was a traffic jam at the roundabout.
Next year we would like to visit Peru.
My grandmother was born in a little fishing village.
Our neighbors have twins who love the drums.
How old is your daughter now?
My father taught me how to whistle.
She looks exactly like her aunt.
We have known each other since school.
Both of my sisters moved away last year.
The baby laughed for the very first time.
He gave me his old watch before he left.
We meet every Sunday for a big family lunch.
Her cousin plays the trumpet in a jazz band.
Would your parents like to join us?
I named the puppy after my uncle.
They have been married for fifty years.
My best friend lives on the other side of the world.
The children built a castle out of cushions.
Please say hello to your wife for me.
I promised my mother I would call her tonight.
He never forgets a birthday.
It was wonderful to have everybody together.
I work in a small office near the park.
The meeting has been moved to Thursday.
Could you send me the numbers before lunch?
We finished the project two weeks early.
My computer is being very slow this morning.
She was offered a job in another city.
I will write it down so that I do not forget.
The printer is out of paper again.
He answers every message within minutes.
We need a better plan for the autumn.
Our team solved the problem over lunch.
The first version is never perfect.
Let us divide the work between the four of us.
I have to give a speech in front of everyone.
You did a really good job with that report.
The deadline is the end of the month.
Who is responsible for the budget?
I learned more from my mistakes than from my successes.
She runs a workshop that repairs old radios.
Take a short break and come back to it later.
Have you read anything good recently?
The book was better than the film.
I could not put the story down.
She writes poems about ordinary things.
We watched an old movie on the roof.
The painting looks different from every side.
He has been learning the piano since spring.
What kind of music do you listen to?
The orchestra began to play very softly.
I sing only when nobody can hear me.
That museum has a room full of clocks.
They danced until the lights went out.
The photograph was taken a hundred years ago.
My favorite color used to be yellow.
We built the whole stage out of cardboard.
The ending of that novel surprised everyone.
Can you hum the tune for me?
The actor forgot his words and made us all laugh.
Every picture in this hall tells a story.
There is a concert by the lake on Saturday.
The moon is about four hundred thousand kilometers away.
Light from that star left before we were born.
Do you think there is life on other planets?
Bees tell each other where the flowers are.
The telescope can see galaxies beyond our own.
A whale's heart is as big as a small car.
Volcanoes shaped most of this island.
Water expands a little when it freezes.
Nobody knows how deep that cave really is.
Trees talk to each other through their roots.
An octopus has three hearts and blue blood.
The earth turns a little more slowly each century.
Sound travels faster through water than through air.
They found the bones of a giant bird.
Our eyes see the world upside down at first.
Rainbows are really full circles.
The desert is freezing cold at night.
Some turtles live for more than a hundred years.
Gravity pulls on everything, even on light.
The experiment failed, and that was the interesting part.
We have two cats and a very lazy dog.
The puppy chewed up my favorite slippers.
A family of foxes lives behind the barn.
Look, there is a squirrel on the balcony!
My parrot has learned to imitate the telephone.
The horses were waiting at the gate.
We fed the ducks and then went home.
Owls fly without making a sound.
The cat is asleep on top of the piano.
I saw a deer at the edge of the wood.
She rescues hedgehogs in the winter.
The goldfish follows my finger along the glass.
Our rooster crows at four in the morning.
He is afraid of spiders, but not of snakes.
The frogs were so loud that we could not sleep.
I play football with my friends on Wednesdays.
She ran the marathon in under four hours.
He swims before work three times a week.
We lost the game in the very last minute.
Would you like to go for a walk with me?
My legs still hurt from yesterday's climb.
They taught us how to sail a small boat.
Breathe in slowly, and then breathe out.
The coach never raises her voice.
I prefer hiking to running.
We skated over the frozen lake at dusk.
He won the race by half a second.
You should stretch before you start.
The whole stadium stood up and cheered.
Chess is harder on the nerves than boxing.
I have a little cold, but I feel all right.
You should drink more water and rest.
The doctor said that everything looks fine.
My tooth has been hurting since Monday.
Did you take your medicine this morning?
I sleep much better with the window open.
A good laugh is worth more than most pills.
Wash your hands before you come to the table.
She broke her arm while learning to skate.
I am feeling much better than last week, thank you.
When I was young, we had no television.
I remember the day we moved into this house.
Back then a loaf of bread cost almost nothing.
You know what, that reminds me of a funny story.
It happened a long time ago in a faraway town.
I used to be afraid of the dark.
We carved our names into the old oak tree.
That summer we slept outside every night.
He told the same joke at every wedding.
I still have the letter in a box somewhere.
Nobody believed me until they saw the picture.
We laughed so much that we could not breathe.
The power went out in the middle of dinner.
It was the best surprise of my life.
Once, I got locked inside a library.
I hope you have a wonderful weekend.
See you tomorrow at the usual place.
Take care and get home safely.
Do not worry, everything will be fine.
I am so sorry to hear that.
Congratulations, you really deserve it!
Happy birthday to you, my dear friend.
Good luck with your exam on Tuesday.
Please come in and make yourself comfortable.
Never mind, it was not that important.
You are always welcome here.
Excuse me, is this seat free?
Sorry I am late, the bus broke down.
That is very kind of you.
I owe you a big favor.
Let me know when you get there.
It was nice talking to you.
Sleep well and sweet dreams.
Have a safe journey, and write to us.
Goodbye for now, and thanks for calling.
No.
Yes, absolutely.
Why not?
Maybe.
Well, perhaps.
Of course!
Really?
I see.
Oh, my goodness.
Hmm, let me see.
Not at all.
Exactly right.
Wait, what?
Okay, sounds good.
Fair enough.
Who told you that?
Are you serious?
By all means, go ahead.
Wonderful!
Probably not.
What time does the shop close?
Where did you put the blue folder?
Why is the sky so red this evening?
How do you spell your last name?
When will the results be published?
Which of these two do you prefer?
Whose bicycle is that in the hallway?
Do you believe in luck?
Have we met somewhere before?
What would you do with a million dollars?
Should I open the window a bit?
Is there anything else you would like to know?
How long have you lived around here?
What makes you happy?
Can anybody hear that noise?
Would you rather fly or be invisible?
Did you hear the thunder last night?
Are those flowers real?
Could we start over from the first page?
Isn't it funny how time flies?
There are seven days in a week and twelve months in a year.
One, two, three, four, five, six, seven, eight, nine, ten.
The temperature dropped to minus fifteen degrees.
My phone number ends with double nine.
It is twenty past eleven already.
The ticket costs about forty five dollars.
He was born in nineteen eighty seven.
We need two thirds of a cup of flour.
The tower is three hundred meters tall.
Add six and eight, and you get fourteen.
Open the box and take out the smaller part.
First, plug in the cable, and then press the button.
Hold the handle firmly while you turn the screw.
Mix the paint well before you use it.
Fold the paper twice and cut along the line.
Save your work before you close the window.
Wait until the green light stops blinking.
Choose a password that nobody can guess.
If it does not work, switch it off and on again.
Read the instructions from top to bottom.
Measure twice and cut once.
Push the door, do not pull it.
Put a little oil on the hinge.
Leave the key under the flower pot.
Follow the white arrows to the exit.
The clock on the wall is ten minutes slow.
Somebody has moved all the furniture.
Her garden is full of lavender and sage.
The lamp makes a warm circle on the carpet.
We painted the front door bright green.
An old map was hidden behind the mirror.
The stairs creak whenever someone comes up.
They keep the firewood beside the shed.
The attic smells of dust and old books.
I finally fixed the dripping tap.
The roof leaks a bit when it pours.
Our street is quiet except on market days.
The bell rings every quarter of an hour.
A stranger left a basket on the doorstep.
We planted beans, peas and pumpkins.
The future belongs to those who prepare for it.
A friend is someone who knows you and likes you anyway.
It is never too late to learn something new.
Small steps are better than big promises.
Every problem looks smaller in the morning.
You cannot step into the same river twice.
Patience is a bitter plant with sweet fruit.
The truth is usually somewhere in between.
People often fear what they do not understand.
Hope is a good breakfast but a poor supper.
If you want to go fast, go alone.
The best time to plant a tree was long ago.
Silence is sometimes the wisest answer.
Nothing is as easy as it looks.
Kindness costs nothing at all.
I think the answer depends on the question.
On the one hand it is cheap, on the other hand it is ugly.
As far as I know, the shop is open until nine.
In my opinion, we should wait a little longer.
Believe me, I was just as surprised as you.
If I were you, I would ask for help.
For example, you could paint it white.
By the way, your shirt is inside out.
In other words, nobody knows.
To make a long story short, we never got there.
Frankly, my favorite part was the food.
After all, tomorrow is another day.
As I said before, there is no hurry.
Speaking of music, have you heard her new song?
At first I was nervous, but then I enjoyed it.
The picture you see is made a little at a time.
I can hear you very clearly now.
Your voice sounds familiar to me.
You may interrupt me whenever you like.
Ask me about history, cooking or the stars.
I do not know everything, but I like to try.
Tell me what you see from your window.
I would be glad to explain it more slowly.
Shall I give you an example?
Let us talk about something cheerful.
We can continue this whenever you want.
That was only the short version of the story.
Would you like to hear a riddle?
What has a neck but no head? A bottle.
I am listening, please go on.
The library lends out tools as well as books.
A violin maker lives above the bakery.
My keys were in my pocket the whole time.
The mayor opened the new bridge yesterday.
Fresh snow covered every roof in the valley.
The jury took five hours to decide.
A bright yellow van stopped in front of us.
The choir practices in the basement of the church.
Her answer was short, sharp and very clever.
The old mill has been turned into a theater.
Bubbles floated above the boiling pot.
Push the boat off the beach before the tide turns.
The mouse vanished beneath the broom.
He whispered something, but I heard nothing.
The film festival begins on the first of May.
Five thousand visitors came through the gates.
We borrowed a pump from the people next door.
My umbrella broke in the very first gust.
The bishop moved slowly over the board.
Every evening we walk along the river and watch the boats.
A pale blue thread hung from her sleeve.
Our favorite beach is empty in November.
The captain put both hands on the wheel.
Mushrooms pop up overnight after rain.
The magician pulled a dove out of his hat.
My boots are full of water and my hat is gone.
We were able to save most of the furniture.
The youngest of them ran ahead with a lantern.
Bamboo can grow almost a meter in one day.
A bumblebee bounced against the window pane.
The shop sells maps, lamps and mechanical toys.
Some people put pepper on their strawberries.
Both pumps stopped at about half past seven.
The violet hour comes just before the dark.
Wheat, oats and barley grow in these fields.
They argued about the volume of the radio.
Eventually the jar gave way and opened.
Whenever I cook fish, the cat comes running.
"""

_HELD_OUT = """
Nice to see you again, it has been a while.
I wonder whether the bakery is still open.
Mabel mops the marble floor before breakfast.
The violinist waved from the far balcony.
Could you bring me the other pair of shoes?
We watched the fishing boats come home at sunset.
My uncle grows the largest pumpkins in the county.
Is it true that you speak three languages?
The old elevator hums whenever it moves.
Put your thumb here and press down firmly.
I would choose the window seat every time.
Two brown bears were seen near the campsite.
She thanked us both and walked away smiling.
There is no point in arguing about it now.
Fifteen minutes later the lights came back on.
You will find the spoons in the bottom drawer.
Who wrote the song that was playing just now?
Maybe the map is upside down.
The river was much wider than we had thought.
I have been meaning to ask you something.
Whales breathe air just as we do.
Please remember to water the basil plants.
That joke gets better every time I hear it.
Our first apartment was above a barber shop.
Thursday would suit me better than Friday.
He poured the batter into a buttered pan.
The museum shows how people lived back then.
What a pity that you could not come.
Absolutely, I would be happy to.
The bravest thing is sometimes to say no.
Birds began to sing before the sun was up.
Can you imagine a world without music?
We should have brought a bigger basket.
The professor measured the pressure very precisely.
My shoelace broke just before the race.
Everyone at the table began to laugh.
I am fairly sure it was on the left.
Foxes, badgers and owls come out at night.
Well, that is one way of looking at it.
See you soon, and thanks for everything.
"""


def _sentences(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if line)


TRAIN: tuple[str, ...] = _sentences(_TRAIN)

HELD_OUT: tuple[str, ...] = _sentences(_HELD_OUT)
"""Never spoken in training; for evaluation."""
